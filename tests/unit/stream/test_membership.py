"""Members: shares follow from who lives, and silence of the database changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

from argus_stream.errors import UnavailableError
from argus_stream.health import Watch
from argus_stream.membership import Membership, routes
from argus_stream.sources import Route, Source

from tests.unit.stream.fakes import FakeLedger
from tests.unit.stream.samples import pipeline, tenant

INTERVAL = 0.01
DOCUMENT = tenant(pipeline("a", partitions=30), pipeline("b", partitions=30))


class Bench:
    def __init__(self, ttl: float = 60) -> None:
        self.ledger = FakeLedger()
        self.owned: Mapping[Source, Route] = {}
        self.membership = Membership(
            self.ledger, self._own, Watch(60, lambda: 0.0), interval=INTERVAL, ttl=ttl
        )

    def _own(self, owned: Mapping[Source, Route]) -> None:
        self.owned = owned

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.membership.run())
        await asyncio.sleep(3 * INTERVAL)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def test_every_partition_of_every_pipeline_has_a_route() -> None:
    found = routes({DOCUMENT.id: DOCUMENT})
    assert set(found) == {Source(topic, n) for topic in "ab" for n in range(30)}
    assert found[Source("b", 3)].pipeline.topic == "b"


async def test_alone_it_owns_everything_and_nothing_before_it_is_a_member() -> None:
    bench = Bench()
    bench.membership.learn({DOCUMENT.id: DOCUMENT})
    assert bench.owned == {}
    assert not bench.membership.joined
    async with bench.running():
        assert len(bench.owned) == 60
        assert bench.membership.joined


async def test_with_others_it_owns_its_share() -> None:
    bench = Bench()
    async with bench.running():
        bench.membership.learn({DOCUMENT.id: DOCUMENT})
        bench.ledger.members = frozenset({uuid4()})
        await asyncio.sleep(3 * INTERVAL)
        assert 15 < len(bench.owned) < 45
        bench.ledger.members = frozenset()
        await asyncio.sleep(3 * INTERVAL)
        assert len(bench.owned) == 60


async def test_without_the_database_shares_stay_as_they_are() -> None:
    bench = Bench()
    bench.ledger.members = frozenset({uuid4()})
    async with bench.running():
        bench.membership.learn({DOCUMENT.id: DOCUMENT})
        before = dict(bench.owned)
        bench.ledger.failure = UnavailableError("down")
        await asyncio.sleep(5 * INTERVAL)
        assert bench.owned == before


async def test_after_a_silence_the_first_answer_is_not_trusted() -> None:
    """Others could not say that they live, either: the first to ask would take everything."""
    bench = Bench(ttl=5 * INTERVAL)
    other = frozenset({uuid4()})
    bench.ledger.members = other
    async with bench.running():
        bench.membership.learn({DOCUMENT.id: DOCUMENT})
        share = len(bench.owned)
        bench.ledger.failure = UnavailableError("down")
        await asyncio.sleep(10 * INTERVAL)
        bench.ledger.members = frozenset()
        bench.ledger.failure = None
        bench.ledger.heard = asyncio.Event()
        await bench.ledger.heard.wait()
        bench.ledger.members = other
        assert len(bench.owned) == share
        await asyncio.sleep(3 * INTERVAL)
        assert len(bench.owned) == share


async def test_it_leaves_and_does_not_mind_if_that_fails() -> None:
    bench = Bench()
    await bench.membership.leave()
    assert bench.ledger.left == [bench.membership.member]
    bench.ledger.failure = UnavailableError("down")
    await bench.membership.leave()
