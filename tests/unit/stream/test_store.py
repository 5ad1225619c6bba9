"""The writer's strategy: whatever fails, each offset is settled once, in order, or read again."""

import asyncio
from collections.abc import Sequence

import pytest
from argus_contract import headers
from argus_contract.rejects import Code
from argus_contract.states import State
from argus_stream import store
from argus_stream.backoff import Backoff
from argus_stream.batch import Limits, Pending
from argus_stream.errors import RefusedError, TableError, UnavailableError
from argus_stream.guard import Guards, Rule
from argus_stream.health import Watch
from argus_stream.letters import Letters
from argus_stream.partitions import Partitions
from argus_stream.ports import Outcome
from argus_stream.slices import Replay, Slice
from argus_stream.sources import Lease, Source
from argus_stream.store import LATE_SECONDS, Writer
from argus_stream.trial import Trials
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream import contracts
from tests.unit.stream.fakes import FakeLedger, FakePost, FakeStore
from tests.unit.stream.samples import identity, lease, letter, record, route

A, B, C = (f"argus.ns.{name}.0badcafe" for name in "abc")


NEVER = Rule(window=10_000, ratio=1.0, least=10_000, run=10_000)


class Bench:
    """A writer among fakes; the clock stands still."""

    def __init__(
        self, delay: float = 0.0001, rule: Rule = NEVER, kind: type[FakeStore] = FakeStore
    ) -> None:
        self.store = kind()
        self.ledger = FakeLedger()
        self.post = FakePost()
        self.partitions = Partitions(Backoff(1, 8, jitter=lambda: 1.0), lambda: 0.0)
        self.pending = Pending(Limits(100, 10_000, 0.0, 100), lambda: 0.0)
        self.guards = Guards(rule)
        self.settled: list[tuple[Source, int, int]] = []
        self.writer = Writer(
            self.pending,
            self.store,
            Letters(self.post, self.ledger, 0.05, self.partitions.letters_done),
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


async def test_a_pipeline_that_failed_lately_is_tried_alone_and_after_the_others() -> None:
    """What it waits for, a locked table for instance, the others do not wait for again."""
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.store.broken = {A}
    await bench.writer.settle([rows(first, 0, 5), rows(second, 0, 5)])
    bench.store.calls.clear()
    again = bench.partitions.opened(Source(A, 0), 0)
    assert again is not None
    await bench.writer.settle([rows(again, 0, 5), rows(second, 5, 9)])
    assert bench.store.calls == [[Source(B, 0)], [Source(A, 0)]]
    bench.store.broken = set()
    again = bench.partitions.opened(Source(A, 0), 0)
    assert again is not None
    await bench.writer.settle([rows(again, 0, 5)])
    bench.store.calls.clear()
    await bench.writer.settle([rows(again, 5, 6), rows(second, 9, 10)])
    assert bench.store.calls == [[Source(A, 0), Source(B, 0)]], "it works: they share a call again"


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
@settings(deadline=None)
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
    bench.pending.grown(A, 4, 0)
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


async def test_slow_letters_hold_up_their_own_pipeline_alone() -> None:
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.post.slow = {f"{A}.dead": asyncio.Event()}
    pieces = [Slice(first, 0, 1, letters=[letter(0)]), rows(second, 0, 1)]
    await asyncio.wait_for(bench.writer.settle(pieces), 0.5)
    assert bench.store.stored == {Source(B, 0): [0]}
    assert bench.partitions.waits(Source(A, 0)) == LATE_SECONDS
    assert bench.partitions.standings()[Source(A, 0)].state is State.OPEN, "slow is not broken"
    bench.post.slow.pop(f"{A}.dead").set()
    await asyncio.sleep(0.01)
    assert bench.partitions.due() == [Source(A, 0)], "as soon as they are there"
    (again,) = bench.open(Source(A, 0))
    await bench.writer.settle([Slice(again, 0, 1, letters=[letter(0)])])
    assert bench.store.letters == {Source(A, 0): {0: Code.TOO_OLD}, Source(B, 0): {}}
    assert len(bench.post.delivered[f"{A}.dead"]) == 1, "and not sent again"


GUARD = Rule(window=20, ratio=0.5, least=8, run=5)


async def poisoned(bench: Bench, bad: Sequence[int], until: int = 40) -> Lease:
    """Settles a slice of one pipeline in which these offsets are refused."""
    (only,) = bench.open(Source(A, 0))
    bench.store.poison = {(only.source, offset) for offset in bad}
    await bench.writer.settle([rows(only, 0, until)])
    return only


async def test_a_run_of_refusals_trips_the_guard_and_nothing_more_is_dead_lettered() -> None:
    bench = Bench(rule=GUARD)
    only = await poisoned(bench, range(10, 40))
    assert not only.live
    assert list(bench.store.letters[only.source]) == [10, 11, 12, 13]
    assert len(bench.post.delivered[f"{A}.dead"]) == 4
    assert bench.store.next[only.source] == 14
    standing = bench.partitions.standings()[only.source]
    assert standing.state is State.GUARDED
    assert standing.reason is not None
    assert standing.reason.startswith("5 records in a row were refused, the last one because of: ")
    assert bench.partitions.waits(only.source) == 30


async def test_a_share_of_refusals_trips_the_guard() -> None:
    bench = Bench(rule=GUARD)
    only = await poisoned(bench, range(1, 40, 2))
    assert list(bench.store.letters[only.source]) == [*range(1, 15, 2)]
    assert bench.partitions.standings()[only.source].state is State.GUARDED


async def test_a_guarded_pipeline_holds_up_no_other() -> None:
    bench = Bench(rule=GUARD)
    first, second = bench.open(Source(A, 0), Source(B, 0))
    bench.store.poison = {(first.source, offset) for offset in range(40)}
    await bench.writer.settle([rows(first, 0, 40), rows(second, 0, 40)])
    assert (first.live, second.live) == (False, True)
    assert bench.store.stored[second.source] == [*range(40)]


async def test_letters_of_clients_trip_no_guard() -> None:
    bench = Bench(rule=GUARD)
    (only,) = bench.open(Source(A, 0))
    codes = [code for code in Code if code not in (Code.REFUSED, Code.INTERNAL)]
    letters = [letter(offset, codes[offset % len(codes)]) for offset in range(5_000)]
    await bench.writer.settle([Slice(only, 0, 5_000, letters=letters)])
    assert only.live
    assert len(bench.store.letters[only.source]) == 5_000


async def test_records_that_argus_fails_on_trip_the_guard_before_any_letter_is_sent() -> None:
    bench = Bench(rule=GUARD)
    (only,) = bench.open(Source(A, 0))
    letters = [letter(offset, Code.INTERNAL) for offset in range(5)]
    await bench.writer.settle([Slice(only, 0, 5, letters=letters)])
    assert not only.live
    assert bench.post.delivered == {}
    assert bench.partitions.standings()[only.source].state is State.GUARDED


async def test_a_trial_stores_nothing_and_releases_the_guard_once_the_table_is_repaired() -> None:
    bench = Bench(rule=GUARD)
    only = await poisoned(bench, range(10, 40))
    sent = len(bench.post.delivered[f"{A}.dead"])
    trial = bench.partitions.opened(only.source, 14)
    assert trial is not None
    assert trial.trial
    await bench.writer.settle([rows(trial, 14, 40)])
    assert bench.partitions.waits(only.source) == 30, "still refused"
    bench.store.poison = {(only.source, 20)}
    trial = bench.partitions.opened(only.source, 14)
    assert trial is not None
    await bench.writer.settle([rows(trial, 14, 40)])
    assert bench.store.next[only.source] == 14
    assert len(bench.post.delivered[f"{A}.dead"]) == sent
    assert bench.partitions.due() == [only.source]
    healthy = bench.partitions.opened(only.source, 14)
    assert healthy is not None
    assert not healthy.trial
    await bench.writer.settle([rows(healthy, 14, 40)])
    assert bench.store.next[only.source] == 40
    assert bench.partitions.standings()[only.source].state is State.OPEN


async def test_a_partition_that_works_does_not_speak_for_one_that_is_refused() -> None:
    bench = Bench(rule=GUARD)
    bad, good = bench.open(Source(A, 0), Source(A, 1))
    bench.store.poison = {(bad.source, offset) for offset in range(40)}
    await bench.writer.settle([rows(bad, 0, 40), rows(good, 0, 40)])
    for source, start in ((bad.source, 4), (good.source, 40)):
        trial = bench.partitions.opened(source, start)
        assert trial is not None
        await bench.writer.settle([rows(trial, start, start + 20)])
    assert bench.partitions.standings()[good.source].state is State.GUARDED


class SlowStore(FakeStore):
    """Takes its time for each rehearsal."""

    async def rehearse(self, piece: Slice) -> None:
        await asyncio.sleep(0.2)
        await super().rehearse(piece)


async def test_trials_of_many_partitions_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TRIAL_SECONDS", 0.1)
    bench = Bench(rule=GUARD, kind=SlowStore)
    first, *others = (each.source for each in bench.open(*(Source(A, n) for n in range(5))))
    bench.store.broken = {A}
    bench.partitions.guard(A, "many were refused", 30)
    trials = [bench.partitions.opened(source, 0) for source in (first, *others)]
    await bench.writer.settle([rows(trial, 0, 5) for trial in trials if trial is not None])
    assert bench.store.rehearsals == 1
    assert bench.partitions.waits(first) == 30
    assert {bench.partitions.waits(source) for source in others} == {0.1}, "their turn is next"


async def test_a_trial_that_the_database_cannot_answer_is_made_again() -> None:
    bench = Bench(rule=GUARD)
    only = await poisoned(bench, range(40))
    for broken, waits in (({A}, 30), (set[str](), 30)):
        bench.store.broken = broken
        trial = bench.partitions.opened(only.source, 4)
        assert trial is not None
        await bench.writer.settle([rows(trial, 4, 20)])
        assert bench.partitions.waits(only.source) == waits
    bench.store.next[only.source] = 9
    trial = bench.partitions.opened(only.source, 4)
    assert trial is not None
    await bench.writer.settle([rows(trial, 4, 20)])
    assert bench.partitions.due() == [only.source], "fenced: opened again at once"


async def test_a_replay_that_is_refused_again_is_a_letter_and_trips_nothing() -> None:
    bench = Bench(rule=GUARD)
    (only,) = bench.open(Source(A, 0))
    piece = rows(only, 0, 20)
    piece.replays = {offset: Replay(f"{A}/0/{offset}", 2) for offset in range(20)}
    bench.store.poison = {(only.source, offset) for offset in range(20)}
    await bench.writer.settle([piece])
    assert only.live
    assert len(bench.store.letters[only.source]) == 20
    attempts = {dict(mail.headers)[headers.ATTEMPT] for mail in bench.post.delivered[f"{A}.dead"]}
    assert attempts == {b"2"}


async def test_a_defect_of_ours_is_taken_apart_to_the_record_that_causes_it() -> None:
    bench = Bench()
    first, second = bench.open(Source(A, 0), Source(B, 0))
    store = bench.store.store

    async def stumble(slices: Sequence[Slice]) -> Sequence[Outcome]:
        if any(each.offset == 7 for piece in slices for each in piece.records):
            raise ZeroDivisionError("of ours")
        return await store(slices)

    bench.store.store = stumble  # type: ignore[method-assign]
    await bench.writer.settle([rows(first, 0, 20), rows(second, 0, 5)])
    assert bench.store.letters == {first.source: {7: Code.INTERNAL}, second.source: {}}
    assert len(bench.store.stored[first.source]) == 19
    (mail,) = bench.post.delivered[f"{A}.dead"]
    assert b"ZeroDivisionError('of ours')" in dict(mail.headers)[headers.ERROR]
