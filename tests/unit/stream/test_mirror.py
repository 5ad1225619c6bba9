"""What is shown of progress: never ahead of what was stored, and shown again if need be."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from argus_contract.states import State
from argus_stream import mirror as module
from argus_stream.backoff import Backoff
from argus_stream.errors import BrokerError
from argus_stream.health import Watch
from argus_stream.mirror import REPEAT_SECONDS, Mirror
from argus_stream.partitions import Partitions
from argus_stream.ports import Bounds, LogEnds
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Source, Standing

from tests.unit.stream.fakes import FakeLedger, FakeOffsets
from tests.unit.stream.samples import FakeRecord, letter, route

A, B = Source("a", 0), Source("b", 0)


def lease_of(source: Source) -> Lease:
    return Lease(source, route(source.topic), 0)


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.offsets = FakeOffsets()
        self.ledger = FakeLedger()
        self.partitions = Partitions(Backoff(1, 1), lambda: self.now)
        self.unsettled: list[Slice] = []
        self.mirror = Mirror(
            self.offsets,
            self.ledger,
            self.partitions,
            Watch(60, lambda: 0.0),
            lambda: self.now,
            lambda: self.unsettled,
        )
        self.partitions.own({A: route("a"), B: route("b")})
        for source in (A, B):
            self.partitions.opened(source, 0)
            self.offsets.logs[source] = Bounds(0, 10)


async def test_it_commits_what_changed() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    await bench.mirror.commit()
    bench.mirror.note(A, 5)
    bench.mirror.note(B, 1)
    await bench.mirror.commit()
    await bench.mirror.commit()
    assert bench.offsets.committed == {A: 5, B: 1}
    assert bench.offsets.commits == 2


async def test_it_commits_everything_again_from_time_to_time() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    await bench.mirror.commit()
    bench.offsets.committed[A] = 2  # a predecessor's last commit came late
    bench.now += REPEAT_SECONDS
    await bench.mirror.commit()
    assert bench.offsets.committed == {A: 3}


async def test_what_could_not_be_committed_is_committed_later() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    bench.offsets.failure = BrokerError("down")
    with pytest.raises(BrokerError):
        await bench.mirror.commit()
    bench.offsets.failure = None
    await bench.mirror.commit()
    assert bench.offsets.committed == {A: 3}


async def test_a_commit_that_was_cut_short_is_made_again() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    bench.offsets.failure = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await bench.mirror.commit()
    bench.offsets.failure = None
    await bench.mirror.commit()
    assert bench.offsets.committed == {A: 3}


async def test_what_is_no_longer_ours_is_not_committed() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    bench.partitions.own({B: route("b")})
    await bench.mirror.commit()
    assert bench.offsets.committed == {}


async def test_a_sample_is_not_older_than_what_was_stored_while_it_was_taken() -> None:
    bench = Bench()
    bench.mirror.note(A, 8)
    ends = bench.offsets.ends

    async def slowly(sources: Sequence[Source]) -> LogEnds:
        found = await ends(sources)
        bench.mirror.note(A, 15)
        return found

    bench.offsets.ends = slowly  # type: ignore[method-assign]
    await bench.mirror.show()
    assert bench.ledger.sampled == {A: 15, B: 10}


async def test_the_oldest_record_that_is_not_stored_is_sampled_with_its_time() -> None:
    bench = Bench()
    bench.mirror.note(A, 3)
    stored, first, second = (Slice(lease_of(A), *ends) for ends in ((0, 3), (3, 5), (5, 6)))
    stored.letters.append(letter(0))
    first.letters.append(letter(4))
    second.records.append(FakeRecord(5, timestamp=9_000))
    first.records.append(FakeRecord(3, timestamp=7_000))
    bench.unsettled = [stored, first, second]
    await bench.mirror.show()
    assert bench.ledger.oldest == {A: datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)}


@pytest.mark.parametrize(("timestamp", "known"), [(-1, False), (0, False), (2**62, True)])
async def test_a_time_that_a_stranger_wrote_is_at_most_now(timestamp: int, known: bool) -> None:
    bench = Bench()
    piece = Slice(lease_of(A), 0, 1, records=[FakeRecord(0, timestamp=timestamp)])
    bench.unsettled = [piece]
    await bench.mirror.show()
    assert (A in bench.ledger.oldest) is known
    assert all(found <= datetime.now(UTC) for found in bench.ledger.oldest.values())


async def test_a_dropped_slice_says_nothing_of_what_is_unread() -> None:
    bench = Bench()
    dropped = lease_of(A)
    dropped.live = False
    bench.unsettled = [Slice(dropped, 0, 1, records=[FakeRecord(0)])]
    await bench.mirror.show()
    assert bench.ledger.oldest == {}


async def test_where_all_is_stored_that_the_log_holds_nothing_is_wrong_any_more() -> None:
    bench = Bench()
    for source, stored in ((A, 10), (B, 9)):
        lease = bench.partitions.held()[source]
        assert lease is not None
        bench.partitions.pause(lease, "broken")
        bench.partitions.opened(source, stored)
        bench.mirror.note(source, stored)
    await bench.mirror.show()
    assert bench.partitions.standings() == {
        A: Standing(State.OPEN),
        B: Standing(State.PAUSED, "broken"),
    }


async def test_a_log_that_ends_before_what_was_stored_is_shown_as_it_is() -> None:
    bench = Bench()
    bench.mirror.note(A, 12)
    await bench.mirror.show()
    assert bench.ledger.sampled == {A: 10, B: 10}


async def test_it_samples_log_ends_and_notices_topics_that_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.001)
    bench = Bench()
    del bench.offsets.logs[B]
    task = asyncio.create_task(bench.mirror.run())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})
    assert bench.ledger.sampled == {A: 10}
    assert set(bench.partitions.held()) == {A}
