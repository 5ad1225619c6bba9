"""States of partitions: what is read, what waits, what stops, and who is told."""

from argus_contract.states import State
from argus_stream.backoff import Backoff
from argus_stream.partitions import Partitions
from argus_stream.sources import Lease, Source, Standing

from tests.unit.stream.samples import route

A, B = Source("a", 0), Source("b", 0)


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.partitions = Partitions(Backoff(1, 8, jitter=lambda: 1.0), lambda: self.now)
        self.partitions.own({A: route("a"), B: route("b")})

    def open(self, source: Source, offset: int = 0) -> Lease:
        lease = self.partitions.opened(source, offset)
        assert lease is not None
        return lease


def test_what_is_ours_is_due_until_it_is_open() -> None:
    bench = Bench()
    assert bench.partitions.due() == [A, B]
    lease = bench.open(A, 7)
    assert lease.next == 7
    assert bench.partitions.due() == [B]
    assert bench.partitions.held() == {A: lease}, "a topic that was never seen is not read"


def test_what_stays_ours_is_not_disturbed() -> None:
    bench = Bench()
    lease = bench.open(A)
    renewed = route("a")
    bench.partitions.own({A: renewed})
    assert bench.partitions.held() == {A: lease}
    assert lease.live
    assert lease.route is renewed


def test_what_is_no_longer_ours_ends() -> None:
    bench = Bench()
    lease = bench.open(A)
    bench.partitions.own({B: route("b")})
    assert not lease.live
    assert bench.partitions.held() == {}
    assert bench.partitions.opened(A, 0) is None, "it was being opened meanwhile"


def test_a_closed_partition_is_paused_and_opened_again_after_its_delay() -> None:
    bench = Bench()
    lease = bench.open(A)
    bench.partitions.close(lease, "why", delay=5)
    assert not lease.live
    assert bench.partitions.held() == {A: None}
    assert bench.partitions.due() == [B]
    bench.now += 5
    assert bench.partitions.due() == [A, B]


def test_closing_a_lease_that_ended_does_not_end_its_successor() -> None:
    bench = Bench()
    first = bench.open(A)
    bench.partitions.close(first, "why")
    second = bench.open(A)
    bench.partitions.close(first, "again")
    bench.partitions.pause(first, "again")
    assert second.live


def test_partitions_of_one_pipeline_fail_together_and_of_another_apart() -> None:
    bench = Bench()
    other = Source("a", 1)
    bench.partitions.own({A: route("a"), other: route("a"), B: route("b")})
    bench.partitions.pause(bench.open(A), "why")
    bench.partitions.pause(bench.open(other), "why")
    bench.partitions.pause(bench.open(B), "why")
    assert bench.partitions.waits(A) == 1.0
    assert bench.partitions.waits(other) == 2.0
    assert bench.partitions.waits(B) == 1.0


def test_a_stopped_partition_stays_stopped_until_it_changes_hands() -> None:
    bench = Bench()
    lease = bench.open(A)
    bench.partitions.stop(A, "why")
    bench.now += 10_000
    assert not lease.live
    assert A not in bench.partitions.due()
    assert bench.partitions.count() == {"open": 0, "waiting": 1, "guarded": 0, "stopped": 1}
    bench.partitions.own({B: route("b")})
    bench.partitions.own({A: route("a"), B: route("b")})
    assert A in bench.partitions.due()


def test_a_stop_that_is_tried_again_is_due_then_and_remains_one_until_something_is_stored() -> None:
    bench = Bench()
    bench.open(A)
    bench.partitions.stop(A, "unreadable", again=30)
    assert A not in bench.partitions.due()
    bench.now += 30
    assert A in bench.partitions.due()
    again = bench.open(A)
    bench.partitions.pause(again, "the broker is away")
    assert bench.partitions.standings()[A] == Standing(State.STOPPED, "unreadable")
    bench.open(A)
    bench.partitions.works(A)
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_what_nobody_has_tried_to_open_has_no_standing() -> None:
    bench = Bench()
    assert bench.partitions.standings() == {}
    bench.open(A)
    bench.partitions.postpone(B, "not there")
    assert bench.partitions.standings() == {
        A: Standing(State.OPEN),
        B: Standing(State.PAUSED, "not there"),
    }


def test_a_pause_is_over_when_something_is_stored_and_not_when_it_is_tried_again() -> None:
    bench = Bench()
    bench.partitions.pause(bench.open(A), "no such table")
    bench.open(A)
    assert bench.partitions.standings()[A] == Standing(State.PAUSED, "no such table")
    bench.partitions.works(A)
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_waiting_for_a_topic_is_over_when_it_is_there() -> None:
    bench = Bench()
    bench.partitions.absent(A, "gone")
    assert bench.partitions.standings()[A] == Standing(State.PAUSED, "gone")
    bench.open(A)
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_a_partition_that_is_fenced_goes_on_as_what_it_was() -> None:
    bench = Bench()
    bench.partitions.close(bench.open(A), "fenced")
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_a_guarded_pipeline_is_read_for_trial_only_until_it_is_released() -> None:
    bench = Bench()
    other = Source("a", 1)
    bench.partitions.own({A: route("a"), other: route("a"), B: route("b")})
    leases = [bench.open(source) for source in (A, other, B)]
    bench.partitions.guard("a", "refused", delay=30)
    assert [lease.live for lease in leases] == [False, False, True]
    assert bench.partitions.standings() == {
        A: Standing(State.GUARDED, "refused"),
        other: Standing(State.GUARDED, "refused"),
        B: Standing(State.OPEN),
    }
    assert bench.partitions.due() == []
    bench.now += 30
    assert bench.partitions.due() == [A, other]
    assert bench.open(A).trial
    bench.partitions.release("a")
    assert bench.partitions.due() == [A, other]
    assert not bench.open(A).trial
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_a_guard_goes_with_the_last_partition_of_its_pipeline() -> None:
    bench = Bench()
    bench.partitions.guard("a", "refused", delay=30)
    bench.partitions.own({B: route("b")})
    bench.partitions.own({A: route("a"), B: route("b")})
    assert not bench.open(A).trial


def test_a_guard_opens_nothing_that_was_stopped_for_good() -> None:
    bench = Bench()
    bench.partitions.stop(A, "not the log that was read")
    bench.partitions.guard("a", "refused", delay=0)
    assert bench.partitions.standings()[A] == Standing(State.STOPPED, "not the log that was read")
    bench.partitions.release("a")
    assert A not in bench.partitions.due()


def test_letters_that_come_late_open_what_waited_for_them_and_nothing_that_is_stopped() -> None:
    bench = Bench()
    bench.partitions.close(bench.open(A), "dead letters are on their way", delay=60)
    bench.partitions.stop(B, "for good")
    bench.partitions.letters_done("a", None)
    bench.partitions.letters_done("b", None)
    assert bench.partitions.due() == [A]
    assert bench.partitions.standings()[A] == Standing(State.OPEN)


def test_letters_that_fail_late_pause_what_waited_for_them() -> None:
    bench = Bench()
    other = Source("a", 1)
    bench.partitions.own({A: route("a"), other: route("a")})
    bench.open(other)
    for expected in (1.0, 2.0):
        bench.partitions.close(bench.open(A), "dead letters are on their way", delay=60)
        bench.partitions.letters_done("a", "no such topic")
        assert bench.partitions.waits(A) == expected
    assert bench.partitions.standings() == {
        A: Standing(State.PAUSED, "no such topic"),
        other: Standing(State.OPEN),
    }


def test_an_absent_topic_is_read_no_more_until_it_is_back() -> None:
    bench = Bench()
    lease = bench.open(A)
    bench.partitions.absent(A, "gone")
    assert not lease.live
    assert bench.partitions.held() == {}
    assert bench.partitions.waits(A) == 1.0


def test_every_change_is_told() -> None:
    bench = Bench()
    versions: list[int] = []
    bench.partitions.subscribe(lambda: versions.append(bench.partitions.version))
    lease = bench.open(A)
    bench.partitions.close(lease, "why")
    bench.partitions.postpone(A, "why")
    bench.partitions.stop(B, "why")
    assert versions == sorted(set(versions))
    assert len(versions) == 4
