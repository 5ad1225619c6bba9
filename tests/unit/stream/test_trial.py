"""What ends a trial other than its verdict: a lease that goes, a defect of ours."""

import pytest
from argus_contract.rejects import Code
from argus_contract.states import State
from argus_stream.backoff import Backoff
from argus_stream.guard import Guards, Rule
from argus_stream.partitions import Partitions
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Source
from argus_stream.trial import Trials

from tests.unit.stream.fakes import FakeStore
from tests.unit.stream.samples import letter, record, route

TOPIC = "argus.ns.web.0badcafe"
HERE = Source(TOPIC, 0)
RULE = Rule(window=10, ratio=0.5, least=5, run=5)


class Interrupted(FakeStore):
    """Gives the partition away while a record is tried."""

    def __init__(self, partitions: Partitions) -> None:
        super().__init__()
        self._partitions = partitions

    async def rehearse(self, piece: Slice) -> None:
        await super().rehearse(piece)
        self._partitions.own({})


class Defective(FakeStore):
    """Fails as a defect does: not by an error of the stream's."""

    async def rehearse(self, piece: Slice) -> None:
        raise ValueError("a row that cannot be packed")


def guarded(partitions: Partitions) -> Lease:
    """A lease for trial of the one partition."""
    partitions.own({HERE: route(TOPIC)})
    partitions.opened(HERE, 0)
    partitions.guard(TOPIC, "many were refused", 30)
    lease = partitions.opened(HERE, 0)
    assert lease is not None
    return lease


def trials(store: FakeStore, partitions: Partitions) -> Trials:
    return Trials(store, Guards(RULE), partitions, ratio=0.5, interval=30)


def piece(lease: Lease) -> Slice:
    return Slice(lease, 0, 2, rows=[b"row"] * 2, records=[record(0), record(1)])


@pytest.fixture
def partitions() -> Partitions:
    return Partitions(Backoff(1, 8, jitter=lambda: 1.0), lambda: 0.0)


async def test_a_partition_that_is_taken_away_while_it_is_tried_concludes_nothing(
    partitions: Partitions,
) -> None:
    lease = guarded(partitions)
    await trials(Interrupted(partitions), partitions).judge(piece(lease))
    assert not lease.live
    assert partitions.held() == {}


async def test_where_nothing_reaches_the_database_it_reads_on_and_trips_at_the_first_refusal(
    partitions: Partitions,
) -> None:
    lease = guarded(partitions)
    guards = Guards(RULE)
    judged = Trials(FakeStore(), guards, partitions, ratio=0.5, interval=30)
    await judged.judge(Slice(lease, 0, 1, letters=[letter(0, Code.TOO_OLD)]))
    assert partitions.standings()[HERE].state is State.OPEN
    refused = Slice(lease, 1, 2, letters=[letter(1, Code.REFUSED)])
    assert guards.trips(TOPIC, [refused]) is not None


@pytest.mark.parametrize(("later", "state"), [(60, State.GUARDED), (600, State.OPEN)])
async def test_a_partition_that_was_tried_long_ago_has_no_say(
    partitions: Partitions, later: float, state: State
) -> None:
    now = 0.0
    there = Source(TOPIC, 1)
    partitions.own({HERE: route(TOPIC), there: route(TOPIC)})
    partitions.guard(TOPIC, "many were refused", 0)
    refusing, passing = partitions.opened(HERE, 0), partitions.opened(there, 0)
    assert refusing is not None
    assert passing is not None
    store = FakeStore()
    store.poison = {(HERE, 0), (HERE, 1)}
    judged = Trials(store, Guards(RULE), partitions, ratio=0.5, interval=30, clock=lambda: now)
    await judged.judge(piece(refusing))
    now += later
    await judged.judge(piece(passing))
    assert partitions.standings()[there].state is state


async def test_a_defect_that_tripped_the_guard_leaves_it_up_when_it_is_tried_again(
    partitions: Partitions,
) -> None:
    lease = guarded(partitions)
    await trials(Defective(), partitions).judge(piece(lease))
    assert partitions.standings()[HERE].state is State.GUARDED
    assert partitions.waits(HERE) == 30
