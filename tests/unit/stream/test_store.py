"""The writer's strategy: whatever fails, each offset is settled once, in order, or read again."""

import asyncio
from collections.abc import Sequence

import pytest
from argus_contract.rejects import Code
from argus_stream.backoff import Backoff
from argus_stream.batch import Limits, Pending
from argus_stream.errors import RefusedError, TableError, UnavailableError
from argus_stream.guard import Guards, Rule
from argus_stream.health import Watch
from argus_stream.letters import Letters
from argus_stream.partitions import Partitions
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Source
from argus_stream.store import Writer
from argus_stream.trial import Trials
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream import contracts
from tests.unit.stream.fakes import FakeLedger, FakePost, FakeStore
from tests.unit.stream.samples import identity, lease, letter, record, route

A, B, C = (f"argus.ns.{name}.0badcafe" for name in "abc")


NEVER = Rule(window=10_000, ratio=1.0, least=10_000, run=10_000)


class Bench:
    """A writer among fakes; the clock stands still."""

    def __init__(self, delay: float = 0.0001, rule: Rule = NEVER) -> None:
        self.store = FakeStore()
        self.ledger = FakeLedger()
        self.post = FakePost()
        self.partitions = Partitions(Backoff(1, 8, jitter=lambda: 1.0), lambda: 0.0)
        self.pending = Pending(Limits(100, 10_000, 0.0, 100), lambda: 0.0)
        self.guards = Guards(rule)
        self.settled: list[tuple[Source, int, int]] = []
        self.writer = Writer(
            self.pending,
            self.store,
            Letters(self.post, self.ledger, 0.05, self.partitions.hasten),
            self.guards,
            Trials(self.store, self.guards, self.partitions, ratio=0.5, interval=30),
            self.partitions,
            Backoff(delay, delay),
            Watch(60, lambda: 0.0),
            lambda piece, _: self.settled.append((piece.lease.source, piece.start, piece.end)),
        )

    def open(self, *sources: Source) -> list[Lease]:
        """Leases of these partitions, which start at 0."""
        self.partitions.own({source: route(source.topic) for source in sources})
        leases = [self.partitions.opened(source, 0) for source in sources]
        return [found for found in leases if found is not None]


def rows(of: Lease, start: int, end: int) -> Slice:
    """A slice of events only."""
    piece = Slice(of, start, end)
    for offset in range(start, end):
        piece.rows.append(b"row")
        piece.records.append(record(offset))
    return piece


async def test_all_healthy_pipelines_share_one_call() -> None:
    bench = Bench()
    batch = [rows(each, 0, 5) for each in bench.open(Source(A, 0), Source(A, 1), Source(B, 0))]
    await bench.writer.settle(batch)
    assert bench.store.calls == [[Source(A, 0), Source(A, 1), Source(B, 0)]]
    assert len(bench.settled) == 3


async def test_a_broken_table_is_split_off_and_pauses_alone() -> None:
    bench = Bench()
    first, second, third = bench.open(Source(A, 0), Source(B, 0), Source(C, 0))
    bench.store.broken = {B}
    await bench.writer.settle([rows(each, 0, 5) for each in (first, second, third)])
    assert bench.store.stored == {Source(A, 0): [*range(5)], Source(C, 0): [*range(5)]}
    assert (first.live, second.live, third.live) == (True, False, True)
    assert bench.partitions.due() == [], "it waits"


async def test_a_fenced_partition_is_opened_again_and_the_others_are_stored() -> None:
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.store.next[Source(A, 0)] = 3
    await bench.writer.settle([rows(first, 0, 5), rows(second, 0, 5)])
    assert (first.live, second.live) == (False, True)
    assert bench.store.stored == {Source(B, 0): [*range(5)]}
    assert bench.partitions.due() == [Source(A, 0)], "at once"


async def test_an_unavailable_database_is_waited_for_and_nothing_is_dropped() -> None:
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    bench.store.failures = [UnavailableError("down")] * 5
    await bench.writer.settle([rows(only, 0, 5)])
    assert only.live
    assert bench.store.stored == {Source(A, 0): [*range(5)]}
    assert len(bench.store.calls) == 6


async def test_while_the_database_is_away_a_lease_that_ends_takes_its_slice_along() -> None:
    bench = Bench(delay=0.1)
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.ledger.failure = UnavailableError("down")
    piece = Slice(first, 0, 1, letters=[letter(0)])
    working = asyncio.create_task(bench.writer.settle([piece, rows(second, 0, 1)]))
    await asyncio.sleep(0.01)
    bench.partitions.own({Source(B, 0): route(B)})
    bench.ledger.failure = None
    await working
    assert bench.store.stored == {Source(B, 0): [0]}
    assert bench.store.letters == {Source(B, 0): {}}


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.data(),
)
def test_bisection_finds_all_poison_and_nothing_else(sizes: list[int], data: st.DataObject) -> None:
    async def run() -> None:
        bench = Bench()
        sources = [Source(A, number) for number in range(len(sizes))]
        leases = bench.open(*sources)
        poison = data.draw(
            st.sets(
                st.sampled_from(
                    [(s, n) for s, size in zip(sources, sizes, strict=True) for n in range(size)]
                )
            )
        )
        bench.store.poison = set(poison)
        await bench.writer.settle(
            [rows(each, 0, size) for each, size in zip(leases, sizes, strict=True)]
        )
        for source, size in zip(sources, sizes, strict=True):
            bad = {offset for where, offset in poison if where == source}
            assert bench.store.stored[source] == [n for n in range(size) if n not in bad]
            assert bench.store.letters[source] == dict.fromkeys(bad, Code.REFUSED)
            assert bench.store.next[source] == size
        sent = [mail.key for mail in bench.post.delivered.get(f"{A}.dead", [])]
        assert sorted(sent) == sorted(f"{s.topic}/{s.partition}/{n}".encode() for s, n in poison)

    asyncio.run(run())


async def test_poison_of_one_pipeline_does_not_keep_the_others_from_being_stored_first() -> None:
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.store.poison = {(Source(A, 0), 7)}
    await bench.writer.settle([rows(first, 0, 20), rows(second, 0, 5)])
    assert bench.settled[0] == (Source(B, 0), 0, 5)
    assert bench.store.next == {Source(A, 0): 20, Source(B, 0): 5}


async def test_bisection_takes_a_break_so_that_others_are_not_kept_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("argus_stream.store.BISECTION_SECONDS", -1.0)
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    bench.store.poison = {(Source(A, 0), 7)}
    await bench.writer.settle([rows(only, 0, 20)])
    assert not only.live
    assert bench.store.next == {}


async def test_a_refusal_that_no_row_can_be_blamed_for_pauses_the_pipeline() -> None:
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    piece = Slice(only, 0, 0)
    piece.skip_to(3)
    bench.store.failures = [RefusedError("23514", "a check of the ledger")] * 2
    await bench.writer.settle([piece])
    assert not only.live
    assert bench.partitions.waits(Source(A, 0)) == 1.0


async def test_letters_that_do_not_arrive_pause_their_pipeline_alone() -> None:
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.post.broken = {f"{A}.dead"}
    pieces = [Slice(first, 0, 1, letters=[letter(0)]), Slice(second, 0, 1, letters=[letter(0)])]
    await bench.writer.settle(pieces)
    assert (first.live, second.live) == (False, True)
    assert bench.store.letters == {Source(B, 0): {0: Code.TOO_OLD}}


async def test_letters_are_sent_once_however_often_the_batch_is_tried() -> None:
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    bench.store.failures = [UnavailableError("down"), TableError("55P03", "locked")]
    await bench.writer.settle([Slice(only, 0, 1, letters=[letter(0)])])
    await bench.writer.settle([Slice(only, 0, 1, letters=[letter(0)])])
    assert len(bench.post.delivered[f"{A}.dead"]) == 1


async def test_failures_in_a_row_pause_a_pipeline_longer_and_a_success_forgets_them() -> None:
    bench = Bench()
    delays = []
    for broken in (True, True, True, False, True):
        (only,) = bench.open(Source(A, 0))
        bench.store.broken = {A} if broken else set()
        bench.store.next.clear()
        await bench.writer.settle([rows(only, 0, 1)])
        delays.append(bench.partitions.waits(Source(A, 0)))
    assert delays == [1.0, 2.0, 4.0, None, 1.0]


async def test_it_ends_when_the_last_batch_is_stored() -> None:
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    piece = bench.pending.slice_of(only)
    piece.skip_to(4)
    bench.pending.grown(4, 0)
    bench.pending.close()
    await asyncio.wait_for(bench.writer.run(), 1)
    assert bench.store.next == {Source(A, 0): 4}


class TestFakeStore(contracts.StoreContract):
    """The fake that the tests above trust."""

    @pytest.fixture
    def lease(self) -> Lease:
        return lease()

    @pytest.fixture
    def other(self) -> Lease:
        return lease(partition=1)

    @pytest.fixture
    def store(self, lease: Lease) -> FakeStore:
        made = FakeStore()
        made.poison = {(lease.source, 2)}
        return made

    @pytest.fixture
    def refused(self, lease: Lease) -> Slice:
        return rows(lease, 0, 4)


def _ids(pieces: Sequence[Slice]) -> list[str]:
    return [each.id for piece in pieces for each in piece.letters]


async def test_a_known_id_makes_no_second_letter_and_counts_as_a_repeat() -> None:
    bench = Bench()
    (only,) = bench.open(Source(A, 0))
    bench.ledger.known = {identity(1)}
    again = letter(3)
    again.id = identity(2)
    piece = Slice(only, 0, 4, letters=[letter(0), letter(1), letter(2), again])
    await bench.writer.settle([piece])
    assert _ids([piece]) == [identity(0), identity(2)]
    assert bench.store.repeats == {Source(A, 0): [1, 3]}
    assert len(bench.post.delivered[f"{A}.dead"]) == 2
