"""The reader: positions follow leases, and what was fetched belongs to its lease."""

import asyncio

from argus_contract.states import State
from argus_stream.backoff import Backoff
from argus_stream.batch import Limits, Pending
from argus_stream.consume import TRIAL_RECORDS, UNREADABLE_SECONDS, Reader
from argus_stream.errors import BrokerError, LogError, UnreadableError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Shares
from argus_stream.slices import Slice
from argus_stream.sources import Source

from tests.unit.stream.fakes import FakeLog
from tests.unit.stream.samples import FakeRecord, accounted, route

A, B = Source("a", 0), Source("b", 0)


class Bench:
    def __init__(self) -> None:
        self.log = FakeLog()
        self.partitions = Partitions(Backoff(60, 60), asyncio.get_running_loop().time)
        self.pending = Pending(Limits(100, 10_000, 0.0, 1), asyncio.get_running_loop().time)
        self.reader = Reader(self.log, self.pending, self.partitions, Watch(60, lambda: 0.0))

    def open(self, source: Source, offset: int) -> None:
        assert self.partitions.opened(source, offset) is not None

    async def run(self, seconds: float = 0.02) -> None:
        """Reads for a moment."""
        task = asyncio.create_task(self.reader.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait({task})

    async def taken(self) -> list[Slice]:
        found = await asyncio.wait_for(self.pending.take(), 1)
        assert found is not None
        return found


def strangers(*offsets: int) -> list[FakeRecord]:
    """Records that are none of ours: each is a gap."""
    return [FakeRecord(offset) for offset in offsets]


async def yielding_fetch(log: FakeLog) -> None:
    """Makes an empty fetch take a moment, as a real one does."""
    fetch = log.fetch

    async def slowly(shares: Shares, timeout: float) -> object:
        await asyncio.sleep(0.001)
        return await fetch(shares, timeout)

    log.fetch = slowly  # type: ignore[method-assign,assignment]


async def test_it_assigns_what_is_held_and_seeks_what_is_opened_again() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 5)
    await bench.run()
    assert bench.log.positions == {A: 5}
    bench.open(B, 7)
    await bench.run()
    assert bench.log.positions == {A: 5, B: 7}
    lease = bench.partitions.held()[A]
    assert lease is not None
    bench.partitions.close(lease, "why", delay=60)
    await bench.run()
    assert bench.log.positions == {A: None, B: 7}
    bench.open(A, 3)
    await bench.run()
    assert bench.log.positions == {A: 3, B: 7}
    assert bench.log.told == ["assign", "assign", "pause", "seek"]


async def test_a_new_assignment_goes_on_after_what_was_decoded() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 5)
    bench.log.queue = [{A: strangers(5, 6)}]
    await bench.run()
    bench.open(B, 0)
    await bench.run()
    assert bench.log.positions == {A: 7, B: 0}


async def test_what_is_fetched_is_decoded_into_the_leases_slice() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a")})
    bench.open(A, 5)
    bench.log.queue = [{A: strangers(5, 6)}, {A: strangers(9)}]
    await bench.run()
    (piece,) = await bench.taken()
    assert accounted(piece) == [5, 6, 7, 8, 9]


async def test_it_fetches_no_more_than_there_is_room_for() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a")})
    bench.open(A, 0)
    bench.log.queue = [{A: strangers(*range(100))}, {A: strangers(100)}]
    await bench.run()
    assert len(bench.log.queue) == 1
    await bench.taken()
    await bench.run()
    assert bench.log.queue == []


async def test_a_topic_that_comes_late_finds_room_in_a_full_batch() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 0)
    bench.open(B, 0)
    bench.log.queue = [{A: strangers(*range(100))}, {B: strangers(0)}, {A: strangers(100)}]
    await bench.run()
    assert len(bench.log.queue) == 1
    taken = await bench.taken()
    assert [(piece.lease.source, piece.end) for piece in taken] == [(A, 100), (B, 1)]


async def test_a_lease_for_trial_reads_a_few_records_once() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a")})
    bench.partitions.guard("a", "refused", 0)
    bench.open(A, 0)
    bench.log.queue = [{A: strangers(*range(TRIAL_RECORDS + 50))}]
    await bench.run()
    (piece,) = await bench.taken()
    assert piece.lease.trial
    assert piece.end == TRIAL_RECORDS
    assert bench.log.told[-1] == "pause"


async def test_a_log_that_cannot_be_parsed_stops_its_partition_and_is_tried_again() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 7)
    bench.open(B, 0)
    bench.log.queue = [UnreadableError(frozenset({A}), "bad checksum"), {B: strangers(0)}]
    await bench.run()
    standing = bench.partitions.standings()[A]
    assert standing.state is State.STOPPED
    assert standing.reason is not None
    assert "from offset 7 on (bad checksum)" in standing.reason
    waits = bench.partitions.waits(A)
    assert waits is not None
    assert UNREADABLE_SECONDS - 5 < waits <= UNREADABLE_SECONDS
    assert bench.partitions.standings()[B].state is State.OPEN


async def test_a_position_that_cannot_be_read_ends_the_lease() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 0)
    bench.open(B, 0)
    bench.log.queue = [LogError(frozenset({A}), "out of range"), {B: strangers(0)}]
    await bench.run()
    assert bench.log.positions == {A: None, B: 1}


async def test_what_a_failed_fetch_dropped_of_other_partitions_is_fetched_again() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a"), B: route("b")})
    bench.open(A, 0)
    bench.open(B, 0)
    bench.log.queue = [{B: strangers(0)}]
    await bench.run()
    bench.log.positions[B] = 5
    bench.log.queue = [LogError(frozenset({A}), "bad checksum")]
    await bench.run()
    assert bench.log.positions == {A: None, B: 1}


async def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a")})
    bench.open(A, 0)
    bench.log.queue = [BrokerError("down"), {A: strangers(0)}]
    await bench.run(0.2)
    assert bench.log.positions == {A: 1}


async def test_offsets_past_the_last_record_are_believed_the_second_time() -> None:
    bench = Bench()
    await yielding_fetch(bench.log)
    bench.partitions.own({A: route("a")})
    bench.open(A, 0)
    bench.log.queue = [{A: strangers(0)}]
    await bench.run()
    await bench.taken()
    bench.log.positions[A] = 4
    await bench.run(1.2)
    assert bench.pending.room == 100
    await bench.run(1.2)
    (piece,) = await bench.taken()
    assert accounted(piece) == [1, 2, 3]
