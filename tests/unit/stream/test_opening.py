"""Opening: SQL's offset against the log's ends."""

import asyncio

import pytest
from argus_contract.states import State
from argus_stream import opening as module
from argus_stream.backoff import Backoff
from argus_stream.errors import BrokerError, TableError, UnavailableError
from argus_stream.health import Watch
from argus_stream.opening import Opener
from argus_stream.partitions import Partitions
from argus_stream.ports import Bounds
from argus_stream.sources import Lease, Source

from tests.unit.stream.fakes import FakeLedger, FakeOffsets
from tests.unit.stream.samples import route

A, B = Source("a", 0), Source("b", 0)


class Bench:
    def __init__(self) -> None:
        self.offsets = FakeOffsets()
        self.ledger = FakeLedger()
        self.partitions = Partitions(Backoff(0.001, 0.001), asyncio.get_running_loop().time)
        self.opened: list[Lease] = []
        self.opener = Opener(
            self.partitions, self.offsets, self.ledger, Watch(60, lambda: 0.0), self.opened.append
        )

    async def run(self) -> None:
        """Opens for a moment."""
        task = asyncio.create_task(self.opener.run())
        await asyncio.sleep(0.03)
        task.cancel()
        await asyncio.wait({task})


async def test_reading_goes_on_where_sql_says() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(5, 20)}
    bench.ledger.offsets = {A: 12}
    bench.partitions.own({A: route("a")})
    await bench.run()
    assert [lease.next for lease in bench.opened] == [12]


async def test_a_log_that_begins_later_is_read_from_its_beginning() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(15, 20)}
    bench.ledger.offsets = {A: 12}
    bench.partitions.own({A: route("a")})
    await bench.run()
    assert [lease.next for lease in bench.opened] == [15]


async def test_a_log_that_ends_before_what_was_read_stops_its_partition() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 11), B: Bounds(0, 12)}
    bench.ledger.offsets = {A: 12, B: 12}
    bench.partitions.own({A: route("a"), B: route("b")})
    await bench.run()
    assert [lease.source for lease in bench.opened] == [B]
    assert bench.partitions.count()["stopped"] == 1


async def test_a_halted_partition_stays_so_though_its_log_has_grown_and_others_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HALT_SECONDS", 0.001)
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 11)}
    bench.ledger.offsets = {A: 12}
    bench.partitions.own({A: route("a")})
    await bench.run()
    bench.offsets.logs = {A: Bounds(0, 200)}
    bench.partitions.own({})
    bench.partitions.own({A: route("a")})
    await bench.run()
    assert bench.opened == []
    standing = bench.partitions.standings()[A]
    assert standing.state is State.STOPPED
    assert standing.reason is not None
    assert "SELECT argus.resume_partition('a', 0)" in standing.reason
    bench.ledger.halted = {}
    await bench.run()
    assert [lease.next for lease in bench.opened] == [12]


async def test_a_halt_that_cannot_be_kept_is_tried_again() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 11)}
    bench.ledger.offsets = {A: 12}
    bench.partitions.own({A: route("a")})
    halt = bench.ledger.halt_partition

    async def fail(source: Source, reason: str) -> None:
        raise UnavailableError("down")

    bench.ledger.halt_partition = fail  # type: ignore[method-assign]
    await bench.run()
    assert bench.partitions.standings()[A].state is State.PAUSED
    bench.ledger.halt_partition = halt  # type: ignore[method-assign]
    await bench.run()
    assert bench.partitions.standings()[A].state is State.STOPPED


async def test_what_a_predecessor_stored_after_the_log_was_looked_at_stops_nothing() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 11)}
    bench.partitions.own({A: route("a")})

    async def meanwhile(source: Source, log_start: int) -> int:
        bench.offsets.logs[source] = Bounds(log_start, 30)
        return 25

    bench.ledger.open_partition = meanwhile  # type: ignore[method-assign]
    await bench.run()
    assert [lease.next for lease in bench.opened] == [25]
    assert bench.partitions.count()["stopped"] == 0


async def test_a_topic_that_is_not_there_yet_is_waited_for_and_the_others_are_opened() -> None:
    bench = Bench()
    bench.offsets.logs = {B: Bounds(0, 0)}
    bench.partitions.own({A: route("a"), B: route("b")})
    await bench.run()
    assert [lease.source for lease in bench.opened] == [B]
    bench.offsets.logs[A] = Bounds(0, 0)
    await bench.run()
    assert [lease.source for lease in bench.opened] == [B, A]


async def test_a_pipeline_that_sql_does_not_know_is_waited_for() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 0)}
    bench.ledger.failure = TableError("AR404", "no pipeline")
    bench.partitions.own({A: route("a")})
    await bench.run()
    assert bench.opened == []
    bench.ledger.failure = None
    await bench.run()
    assert len(bench.opened) == 1


async def test_brokers_that_do_not_answer_are_waited_for() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 0)}
    bench.offsets.failure = BrokerError("down")
    bench.partitions.own({A: route("a")})
    await bench.run()
    bench.offsets.failure = None
    await bench.run()
    assert len(bench.opened) == 1


async def test_what_is_given_away_while_it_is_opened_gets_no_lease() -> None:
    bench = Bench()
    bench.offsets.logs = {A: Bounds(0, 0)}
    bench.partitions.own({A: route("a")})
    opening = bench.ledger.open_partition

    async def slowly(source: Source, log_start: int) -> int:
        bench.partitions.own({})
        return await opening(source, log_start)

    bench.ledger.open_partition = slowly  # type: ignore[method-assign]
    await bench.run()
    assert bench.opened == []
