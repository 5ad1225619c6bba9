"""The batch that grows: bounded, patient at rest, immediate under load."""

import asyncio

import pytest
from argus_stream.batch import Limits, Pending
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.samples import lease, record


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pending(linger: float = 0.0, eager: int = 100) -> Pending:
    return Pending(Limits(records=10, bytes=1_000, linger=linger, eager=eager), Clock())


def add(batch: Pending, count: int, size: int = 1) -> None:
    piece = batch.slice_of(ONE)
    for _ in range(count):
        piece.rows.append(b"row")
        piece.records.append(record(piece.end))
        piece.end += 1
    ONE.next = piece.end
    batch.grown(TOPIC, count, size * count)


ONE = lease()
TOPIC = ONE.source.topic


async def test_room_is_what_is_left_of_records_and_none_once_bytes_are_used_up() -> None:
    batch = pending()
    assert batch.room == 10
    add(batch, 4)
    assert batch.room == 6
    add(batch, 1, size=2_000)
    assert batch.room == 0


async def test_a_reader_waits_for_room_until_the_batch_is_taken() -> None:
    batch = pending()
    add(batch, 10)
    waiting = asyncio.create_task(batch.wait_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await batch.take()
    await asyncio.wait_for(waiting, 1)
    assert batch.room == 10


async def test_a_lease_goes_on_where_the_taken_slice_ended() -> None:
    batch = pending()
    add(batch, 3)
    taken = await batch.take()
    add(batch, 2)
    again = await batch.take()
    assert taken is not None
    assert again is not None
    assert (taken[0].end, again[0].start) == (again[0].start, taken[0].end)


async def test_a_small_batch_waits_for_company_and_an_eager_one_does_not() -> None:
    batch = pending(linger=60, eager=5)
    add(batch, 4)
    taking = asyncio.create_task(batch.take())
    await asyncio.sleep(0.01)
    assert not taking.done()
    add(batch, 1)
    assert await asyncio.wait_for(taking, 1)


async def test_a_batch_waits_no_longer_than_it_may() -> None:
    batch = pending(linger=0.01)
    add(batch, 1)
    assert await asyncio.wait_for(batch.take(), 1)


async def test_slices_of_closed_leases_and_empty_ones_are_not_taken() -> None:
    batch = pending()
    closed, untouched = lease(partition=1), lease(partition=2)
    batch.slice_of(closed).skip_to(3)
    batch.slice_of(untouched)
    batch.grown(TOPIC, 0, 0)
    closed.live = False
    assert await batch.take() == []


async def test_once_closed_it_gives_the_last_batch_and_then_none() -> None:
    batch = pending(linger=60)
    add(batch, 1)
    batch.close()
    last = await asyncio.wait_for(batch.take(), 1)
    assert last is not None
    assert len(last) == 1
    assert await asyncio.wait_for(batch.take(), 1) is None


def test_one_topic_may_have_the_whole_batch_in_pieces() -> None:
    batch = pending()
    assert batch.shares([TOPIC], 4) == {TOPIC: 4}
    batch.grown(TOPIC, 8, 8)
    assert batch.shares([TOPIC], 4) == {TOPIC: 2}
    batch.grown(TOPIC, 2, 2)
    assert batch.shares([TOPIC], 4) == {TOPIC: 0}


def test_a_full_batch_has_room_for_the_equal_share_of_who_comes_late() -> None:
    batch = pending()
    batch.grown("a", 10, 10)
    assert batch.shares(["a", "b"], 100) == {"a": 0, "b": 5}
    batch.grown("b", 5, 5)
    assert batch.shares(["a", "b"], 100) == {"a": 0, "b": 0}
    assert batch.shares(["c"], 100) == {"c": 3}


def test_bytes_are_shared_like_records() -> None:
    batch = pending()
    batch.grown("a", 1, 1_400)
    assert batch.shares(["a", "b"], 100) == {"a": 0, "b": 5}
    batch.grown("b", 1, 500)
    assert batch.shares(["a", "b"], 100) == {"a": 0, "b": 0}


@settings(deadline=None)
@given(st.data())
def test_a_batch_never_grows_beyond_twice_its_size(data: st.DataObject) -> None:
    topics = [str(number) for number in range(data.draw(st.integers(1, 8)))]
    batch = Pending(Limits(records=100, bytes=10_000, linger=0.0, eager=100), Clock())
    total = 0
    for _ in range(30):
        ready = data.draw(st.lists(st.sampled_from(topics), min_size=1, unique=True))
        for topic, share in batch.shares(ready, 40).items():
            added = data.draw(st.integers(0, share))
            batch.grown(topic, added, added)
            total += added
    assert total <= 2 * 100 + len(topics)
    assert batch.shares([], 40) == {}


@pytest.mark.parametrize("size", [1, 100])
def test_however_many_come_late_one_after_the_other_there_is_room_for_two_batches(
    size: int,
) -> None:
    batch = Pending(Limits(records=1_000, bytes=100_000, linger=0.0, eager=1_000), Clock())
    records = total = 0
    for number in range(50):
        topic = str(number)
        while batch.shares([topic], 10)[topic]:
            batch.grown(topic, 1, size)
            records, total = records + 1, total + size
    assert records <= 2 * 1_000
    assert total <= 2 * 100_000


def test_what_was_taken_is_known_as_unsettled_until_the_next_batch_is_taken() -> None:
    async def run() -> None:
        batch = pending()
        add(batch, 1)
        assert [piece.end for piece in batch.unsettled()] == [ONE.next]
        await batch.take()
        add(batch, 2)
        assert [piece.end for piece in batch.unsettled()] == [ONE.next - 2, ONE.next]
        await batch.take()
        assert [piece.end for piece in batch.unsettled()] == [ONE.next]

    asyncio.run(run())
