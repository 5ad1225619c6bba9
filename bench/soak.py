"""`make bench-soak`: ten minutes at 70 % of saturation; memory and lag have to stay flat."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import accounting, report
from bench.driving import generating
from bench.house import Group, House, Setting
from bench.ledger import Ledger
from bench.local import SATURATED
from bench.results import Results
from bench.session import Session, session
from bench.trial import measure
from bench.workshop import workshop

MINUTES: Final = 10

_SAMPLE_S: Final = 5.0
_MINUTE: Final = 60
_SETTLED_S: Final = 120.0
"""Seconds after which memory is compared: pools, caches and buckets are full by then."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory in MiB by component, and rows so far."""

    second: float
    resident: dict[str, float]
    stored: int


def groups(setting: Setting) -> dict[str, Group]:
    """One tenant."""
    return {setting.modes[0]: Group(partitions=setting.partitions)}


def conduct(setting: Setting, scratch: Path, results: Results) -> None:
    """The whole bench; `results` is filled as it goes."""
    with workshop(setting, groups(setting), scratch) as house:
        asyncio.run(_run(setting, house, results))


async def _run(setting: Setting, house: House, results: Results) -> None:
    """The whole soak, in the first of the modes; `results` is filled."""
    mode = setting.modes[0]
    async with session(setting, house) as opened:
        full = await measure(opened.system(mode), opened.offer(mode, mode), setting.seconds)
        rate = SATURATED * full.sustained
        report.progress(f"{mode}: {MINUTES} minutes at {rate:,.0f} events/s")
        results.figures |= await _soak(opened, mode, rate)


async def _soak(opened: Session, mode: str, rate: float) -> dict[str, float]:
    ledger = opened.ledger(mode)
    offer = opened.offer(mode, mode, events=rate, seconds=float(MINUTES * _MINUTE))
    before = await ledger.position()
    async with generating(offer) as generator:
        working = asyncio.create_task(generator.outcome())
        samples = await _sample(opened, ledger, before.stored)
        outcome = await working
    await ledger.drained(before, outcome.requests * offer.batch)
    account = await ledger.account(outcome, offer.run, offer.batch)
    figures = growth(samples)
    figures["soak.behind"] = behind(samples, rate)
    figures["soak.lost"] = account.lost
    figures["soak.refused"] = outcome.sent / offer.batch - outcome.requests
    return figures


async def _sample(opened: Session, ledger: Ledger, before: int) -> list[Sample]:
    samples: list[Sample] = []
    roots = opened.house.roots
    for number in range(1, round(MINUTES * _MINUTE / _SAMPLE_S)):
        await asyncio.sleep(_SAMPLE_S)
        table = accounting.table()
        memory = {n: accounting.resident(table, roots[n]) for n in ("ingest", "stream")}
        resident = {name: size / accounting.MIB for name, size in memory.items()}
        stored = (await ledger.position()).stored - before
        samples.append(Sample(number * _SAMPLE_S, resident, stored))
        if number % round(_MINUTE / _SAMPLE_S) == 0:
            sizes = ", ".join(f"{name} {size:.0f} MiB" for name, size in resident.items())
            report.progress(f"{number * _SAMPLE_S / _MINUTE:.0f} min: {sizes}, {stored:,} rows")
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """MiB by which each component's last minute exceeds its first settled minute."""
    end = samples[-1].second
    first = [s for s in samples if _SETTLED_S <= s.second < _SETTLED_S + _MINUTE]
    last = [s for s in samples if s.second > end - _MINUTE]
    return {
        f"soak.{name}_growth": statistics.median(s.resident[name] for s in last)
        - statistics.median(s.resident[name] for s in first)
        for name in samples[0].resident
    }


def behind(samples: Sequence[Sample], rate: float) -> float:
    """Seconds by which storing fell back between the first settled sample and the last one."""
    first = next(sample for sample in samples if sample.second >= _SETTLED_S)
    last = samples[-1]
    return (last.second - first.second) - (last.stored - first.stored) / rate
