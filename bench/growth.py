"""`make bench-growth`: what an event costs with many tenants, with many rows, with many addresses.

Every axis compares two measurements at one and the same rate, so that batches differ only by what
the axis changes.
"""

from typing import Final

from bench import report
from bench.house import Group, House, Setting
from bench.local import SATURATED
from bench.results import Results
from bench.session import Session, session
from bench.trial import Run, measure

TENANTS: Final = 200
PIPELINES: Final = 2
ROWS: Final = 10_000_000
ADDRESSES: Final = 100_000

_FILL_S: Final = 20.0


def groups(setting: Setting) -> dict[str, Group]:
    """One tenant, and a crowd."""
    alone = {mode: Group() for mode in setting.modes}
    return {**alone, "crowd": Group(TENANTS, PIPELINES)}


async def run(setting: Setting, house: House, results: Results) -> None:
    """All axes; `results` is filled as it goes."""
    async with session(setting, house) as opened:
        for mode in setting.modes:
            await _axes(opened, mode, results)
        await _fill(opened, setting.modes)
        for mode in setting.modes:
            rate = results.figures[f"{mode}.rate"]
            await _compare(opened, mode, results, "rows", await _paced(opened, mode, mode, rate))


async def _axes(opened: Session, mode: str, results: Results) -> None:
    full = await measure(opened.system(mode), opened.offer(mode, mode), opened.setting.seconds)
    rate = results.figures[f"{mode}.rate"] = SATURATED * full.sustained
    report.progress(f"{mode}: everything at {rate:,.0f} events/s")
    alone = await _paced(opened, mode, mode, rate)
    results.figures[f"{mode}.alone"] = alone.whole
    report.progress(report.run_line(mode, 1, alone))
    crowd = await _paced(opened, "crowd", mode, rate)
    await _compare(opened, mode, results, "tenants", crowd)
    one = await _paced(opened, mode, mode, rate, addresses=1)
    results.figures[f"{mode}.alone_address"] = one.whole
    many = await _paced(opened, mode, mode, rate, addresses=ADDRESSES)
    results.figures[f"growth.addresses.{mode}"] = many.whole / one.whole
    report.progress(f"{mode}: {ADDRESSES:,} addresses cost {many.whole / one.whole:.2f} times one")


async def _paced(
    opened: Session, group: str, mode: str, rate: float, addresses: int | None = None
) -> Run:
    offer = opened.offer(group, mode, events=rate, addresses=addresses)
    return await measure(opened.system(group), offer, opened.setting.seconds)


async def _compare(opened: Session, mode: str, results: Results, axis: str, grown: Run) -> None:
    ratio = grown.whole / results.figures[f"{mode}.alone"]
    results.figures[f"growth.{axis}.{mode}"] = ratio
    results.runs.setdefault(f"{mode}, {axis}", []).append(grown)
    report.progress(report.run_line(f"{mode}, {axis}", 1, grown))
    report.progress(f"{mode}: {axis} cost {ratio:.2f} times as much ({opened.setting.seconds:g} s)")


async def _fill(opened: Session, modes: tuple[str, ...]) -> None:
    """Fills each mode's table up, by batches through the whole system."""
    for mode in modes:
        ledger = opened.ledger(mode)
        while (rows := (await ledger.position()).stored) < ROWS:
            report.progress(f"{mode}: {rows:,} of {ROWS:,} rows")
            await measure(opened.system(mode), opened.offer(mode, "batch"), _FILL_S)
