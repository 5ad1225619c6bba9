"""`make bench-growth`: what an event costs with many tenants, with many rows, with many addresses.

Every axis compares two measurements at one and the same rate, so that batches differ only by what
the axis changes.
"""

import asyncio
from pathlib import Path
from typing import Final

from bench import report
from bench.house import Group, House, Setting
from bench.local import SATURATED
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

_FILL_S: Final = 20.0


def groups() -> dict[str, Group]:
    """One tenant, and a crowd."""
    return {ALONE: Group(), CROWD: Group(TENANTS, PIPELINES)}


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
            await one.against_alone("tenants", CROWD)
            await one.addresses()
        await fill(opened)
        for one in axes:
            await one.against_alone("rows", ALONE)


class Axes:
    """The axes of one mode."""

    def __init__(self, opened: Session, mode: str, results: Results) -> None:
        self._opened = opened
        self._mode = mode
        self._results = results
        self._rate = 0.0
        self._alone = 0.0

    async def start(self) -> None:
        """Finds the rate, and what an event costs one tenant with few rows."""
        opened, mode = self._opened, self._mode
        offer = opened.offer(ALONE, mode)
        full = await measure(opened.system(ALONE), offer, opened.setting.seconds)
        self._rate = SATURATED * full.sustained
        report.progress(f"{mode}: everything at {self._rate:,.0f} events/s")
        self._alone = (await self._measure("one tenant", ALONE)).whole

    async def against_alone(self, axis: str, group: str) -> None:
        """What a group's event costs now, over what one tenant's cost at the start."""
        grown = await self._measure(axis, group)
        self._conclude(axis, grown.whole / self._alone)

    async def addresses(self) -> None:
        """What many addresses cost over one."""
        one = await self._measure("one address", ALONE, addresses=1)
        many = await self._measure("addresses", ALONE, addresses=ADDRESSES)
        self._conclude("addresses", many.whole / one.whole)

    async def _measure(self, title: str, group: str, addresses: int | None = None) -> Run:
        opened, mode = self._opened, self._mode
        offer = opened.offer(group, mode, events=self._rate, addresses=addresses)
        done = await measure(opened.system(group), offer, opened.setting.seconds)
        named = f"{mode}, {title}"
        self._results.runs[named] = [done]
        report.progress(report.run_line(named, 1, done))
        return done

    def _conclude(self, axis: str, ratio: float) -> None:
        self._results.figures[f"growth.{axis}.{self._mode}"] = ratio
        report.progress(f"{self._mode}: more {axis} cost {ratio:.2f} times as much")


async def fill(opened: Session) -> None:
    """Fills the one tenant's table up, by batches through the whole system."""
    ledger = opened.ledger(ALONE)
    while (rows := (await ledger.position()).stored) < ROWS:
        report.progress(f"{rows:,} of {ROWS:,} rows")
        await measure(opened.system(ALONE), opened.offer(ALONE, "batch"), _FILL_S)
