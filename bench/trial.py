"""One run: load for some seconds, what it cost in a steady window, and that nothing was lost.

The window begins and ends right after a step of the ledger, so that rows are neither cut off nor
counted half; CPU, rows and acknowledgements are all of that one window.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from bench import accounting, stats
from bench.driving import MARGIN_S, WARM_S, generating
from bench.ledger import Account, Ledger, Position
from bench.load import TICK, Offer, Outcome

_PER_EVENT: Final = ("ingest", "kafka", "redis", "load")
"""Components whose work is counted by acknowledged events; the others' by rows."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment: CPU in seconds, memory in bytes, both by component."""

    at: float
    cpu: Mapping[str, float]
    resident: Mapping[str, int]
    position: Position


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to; latencies in milliseconds, CPU in microseconds."""

    seconds: float
    batch: int
    accepted: float
    """Events acknowledged in a second."""
    stored: float
    """Rows in a second."""
    p50: float
    p99: float
    p999: float
    cpu: dict[str, float]
    """By component, for each event: those acknowledged for the edge and its engines, else rows."""
    resident: dict[str, float]
    """MiB of the largest process of each component."""
    statuses: dict[int, int]
    acknowledged: int
    rows: int
    lost: int
    twice: int

    @property
    def whole(self) -> float:
        """CPU of the whole system for each event, the load generator's left out."""
        return sum(cost for name, cost in self.cpu.items() if name != "load")

    @property
    def sustained(self) -> float:
        """Events in a second that are both accepted and stored."""
        return min(self.accepted, self.stored)


@dataclass(frozen=True, slots=True)
class System:
    """What is measured: process trees by component, and the ledger."""

    roots: Mapping[str, tuple[int, ...]]
    ledger: Ledger

    async def read(self) -> Reading:
        """Reads right after the ledger's next step."""
        position = await self.ledger.step()
        processes = accounting.table()
        return Reading(
            at=time.monotonic(),
            cpu={name: accounting.cpu(processes, pids) for name, pids in self.roots.items()},
            resident={n: accounting.resident(processes, pids) for n, pids in self.roots.items()},
            position=position,
        )

    def with_load(self, pid: int) -> "System":
        """The same with the load generator as a component."""
        return System({**self.roots, "load": (pid,)}, self.ledger)


async def measure(system: System, offer: Offer, seconds: float) -> Run:
    """Makes the offer for `seconds` and what it takes to warm up, and holds it to account."""
    whole = msgspec.structs.replace(offer, seconds=WARM_S + seconds + MARGIN_S)
    before = await system.ledger.position()
    async with generating(whole) as generator:
        working = asyncio.create_task(generator.outcome())
        observed = system.with_load(generator.pid)
        await asyncio.sleep(WARM_S)
        first = await observed.read()
        await asyncio.sleep(max(0.0, first.at + seconds - time.monotonic()))
        last = await observed.read()
        outcome = await working
    await system.ledger.drained(before, outcome.requests * offer.batch)
    account = await system.ledger.account(outcome, offer.run, offer.batch)
    return summary(offer, outcome, first, last, account)


def summary(offer: Offer, outcome: Outcome, first: Reading, last: Reading, account: Account) -> Run:
    """The run in figures; raises RuntimeError where its window has no requests or no rows."""
    seconds = last.at - first.at
    since, until = first.at - outcome.began, last.at - outcome.began
    done = stats.window(outcome.ticks, TICK, 0.0, since)
    requests = stats.window(outcome.ticks, TICK, since, until)
    rows = last.position.stored - first.position.stored
    if not requests or not rows:
        raise RuntimeError(
            f"{requests:g} requests and {rows} rows in {seconds:.1f} s: {outcome.statuses}"
        )
    latencies = sorted(outcome.latencies[round(done) : round(done + requests)])
    events = requests * offer.batch
    spent = {name: last.cpu[name] - first.cpu[name] for name in last.cpu}
    return Run(
        seconds=seconds,
        batch=offer.batch,
        accepted=events / seconds,
        stored=rows / seconds,
        p50=1e3 * stats.percentile(latencies, 0.5),
        p99=1e3 * stats.percentile(latencies, 0.99),
        p999=1e3 * stats.percentile(latencies, 0.999),
        cpu={
            name: accounting.MICROS * used / (events if name in _PER_EVENT else rows)
            for name, used in spent.items()
        },
        resident={name: size / accounting.MIB for name, size in last.resident.items()},
        statuses=outcome.statuses,
        acknowledged=account.acknowledged,
        rows=account.rows,
        lost=account.lost,
        twice=account.twice,
    )
