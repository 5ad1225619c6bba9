"""`make bench-growth`: what an event costs with many tenants, with many rows, with many addresses.

Every axis compares two sides at one and the same rate, so that batches differ only by what the axis
changes. The sides take turns, so that a machine that becomes slower meanwhile does not count.
"""

import asyncio
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import report
from bench.house import Group, House, Setting
from bench.results import Results
from bench.session import Session, session
from bench.trial import Run, measure
from bench.workshop import workshop

TENANTS: Final = 200
PIPELINES: Final = 2
ROWS: Final = 10_000_000
ADDRESSES: Final = 100_000
ALONE: Final = "alone"
CROWD: Final = "crowd"
FULL: Final = "full"
NEW: Final = "new"

_SHARE: Final = 0.5
"""Share of what one tenant sustained at which all is measured: a machine bears it on a bad day."""
_ROUNDS: Final = 3
"""In which the two sides of an axis take turns."""
_FILL_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an axis: who is offered the load, and from how many addresses."""

    name: str
    group: str
    addresses: int | None = None


TENANTS_AXIS: Final = (Side("one tenant", ALONE), Side("tenants", CROWD))
ADDRESSES_AXIS: Final = (
    Side("one address", ALONE, 1),
    Side("addresses", ALONE, ADDRESSES),
)
ROWS_AXIS: Final = (Side("few rows", NEW), Side("rows", FULL))


def groups() -> dict[str, Group]:
    """One tenant; a crowd; one whose table is filled, and one whose table is new."""
    return {ALONE: Group(), CROWD: Group(TENANTS, PIPELINES), FULL: Group(), NEW: Group()}


def conduct(setting: Setting, scratch: Path, results: Results) -> None:
    """The whole bench; `results` is filled as it goes."""
    with workshop(setting, groups(), scratch) as house:
        asyncio.run(_run(setting, house, results))


async def _run(setting: Setting, house: House, results: Results) -> None:
    """All axes; `results` is filled as it goes."""
    async with session(setting, house) as opened:
        axes = [Axes(opened, mode, results) for mode in setting.modes]
        for one in axes:
            await one.start()
            await one.compare("tenants", *TENANTS_AXIS)
            await one.compare("addresses", *ADDRESSES_AXIS)
        await fill(opened)
        for one in axes:
            await one.compare("rows", *ROWS_AXIS)


class Axes:
    """The axes of one mode."""

    def __init__(self, opened: Session, mode: str, results: Results) -> None:
        self._opened = opened
        self._mode = mode
        self._results = results
        self._rate = 0.0

    async def start(self) -> None:
        """Finds the rate."""
        opened, mode = self._opened, self._mode
        offer = opened.offer(ALONE, mode)
        full = await measure(opened.system(ALONE), offer, opened.setting.seconds)
        self._rate = _SHARE * full.sustained
        report.progress(f"{mode}: everything at {self._rate:,.0f} events/s")

    async def compare(self, axis: str, small: Side, large: Side) -> None:
        """What an event costs on the large side, over what it costs on the small one."""
        runs: dict[Side, list[Run]] = {small: [], large: []}
        for number in range(1, _ROUNDS + 1):
            for side in (small, large) if number % 2 else (large, small):
                done = await self._measure(side)
                runs[side].append(done)
                report.progress(report.run_line(f"{self._mode}, {side.name}", number, done))
        for side, measured in runs.items():
            self._results.runs[f"{self._mode}, {side.name}"] = measured
        costs = {side: statistics.median(run.whole for run in runs[side]) for side in runs}
        ratio = costs[large] / costs[small]
        self._results.figures[f"growth.{axis}.{self._mode}"] = ratio
        report.progress(f"{self._mode}: more {axis} cost {ratio:.2f} times as much")

    async def _measure(self, side: Side) -> Run:
        opened, mode = self._opened, self._mode
        offer = opened.offer(side.group, mode, events=self._rate, addresses=side.addresses)
        return await measure(opened.system(side.group), offer, opened.setting.seconds)


async def fill(opened: Session) -> None:
    """Fills one tenant's table up, by batches through the whole system."""
    ledger = opened.ledger(FULL)
    while (rows := (await ledger.position()).stored) < ROWS:
        report.progress(f"{rows:,} of {ROWS:,} rows")
        await measure(opened.system(FULL), opened.offer(FULL, "batch"), _FILL_S)
