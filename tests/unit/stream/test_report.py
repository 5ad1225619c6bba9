"""States told to SQL: at once when they change, all of them from time to time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from argus_contract.states import State
from argus_stream import report as module
from argus_stream.backoff import Backoff
from argus_stream.errors import UnavailableError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.report import REPEAT_SECONDS, Reporter
from argus_stream.sources import Source, Standing

from tests.unit.stream.fakes import FakeLedger
from tests.unit.stream.samples import route

A, B = Source("a", 0), Source("b", 0)
OPEN = Standing(State.OPEN)


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.ledger = FakeLedger()
        self.partitions = Partitions(Backoff(1, 1), lambda: self.now)
        self.reporter = Reporter(
            self.ledger, self.partitions, Watch(60, lambda: 0.0), lambda: self.now
        )
        self.partitions.own({A: route("a"), B: route("b")})
        for source in (A, B):
            self.partitions.opened(source, 0)

    def pause(self, source: Source, reason: str) -> None:
        lease = self.partitions.held()[source]
        assert lease is not None
        self.partitions.pause(lease, reason)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reporter.run())
        yield
        task.cancel()
        await asyncio.wait({task})


async def test_what_changed_is_told_and_what_did_not_is_not() -> None:
    bench = Bench()
    await bench.reporter.report()
    bench.pause(A, "broken")
    await bench.reporter.report()
    await bench.reporter.report()
    assert bench.ledger.reports == [{A: OPEN, B: OPEN}, {A: Standing(State.PAUSED, "broken")}]


async def test_everything_is_told_again_from_time_to_time() -> None:
    bench = Bench()
    await bench.reporter.report()
    bench.now += REPEAT_SECONDS
    await bench.reporter.report()
    assert bench.ledger.reports == [{A: OPEN, B: OPEN}] * 2


async def test_what_could_not_be_told_is_told_later() -> None:
    bench = Bench()
    bench.ledger.failure = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await bench.reporter.report()
    bench.ledger.failure = None
    await bench.reporter.report()
    assert bench.ledger.reports == [{A: OPEN, B: OPEN}]


async def test_a_change_is_told_without_waiting_for_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    bench = Bench()
    async with bench.running():
        await asyncio.sleep(0.02)
        bench.pause(A, "broken")
        await asyncio.sleep(0.02)
    assert bench.ledger.reports[-1] == {A: Standing(State.PAUSED, "broken")}


async def test_a_database_that_is_away_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    bench = Bench()
    async with bench.running():
        await asyncio.sleep(0.02)
        bench.ledger.failure = UnavailableError("down")
        bench.pause(A, "broken")
        await asyncio.sleep(0.02)
        bench.ledger.failure = None
        await asyncio.sleep(0.02)
    assert bench.ledger.reports[1:] == [{A: Standing(State.PAUSED, "broken")}]
