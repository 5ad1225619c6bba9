"""When keys were last used: told once, told again after a failure, and never in a request's way."""

import asyncio

import pytest
from argus_contract.keys import hash_key
from argus_contract.times import SECOND
from argus_ingest.tenants import Directory, Use
from argus_ingest.uses import Minutes, Uses, UsesAwayError
from prometheus_client import REGISTRY

from tests.unit.ingest.helpers import NOW, PUBLIC_KEY, SERVER_KEY, document

SERVER, PUBLIC = hash_key(SERVER_KEY), hash_key(PUBLIC_KEY)
MINUTE = NOW // (60 * SECOND)


class FakeUses:
    """Takes what it is told, or is away; `meanwhile` is used while it is being told."""

    def __init__(self) -> None:
        self.told: list[Minutes] = []
        self.away = False
        self.meanwhile: Use | None = None

    async def mark(self, minutes: Minutes) -> None:
        await asyncio.sleep(0)
        if self.meanwhile is not None:
            self.meanwhile.last += 60 * SECOND
            self.meanwhile = None
        if self.away:
            raise UsesAwayError("away")
        self.told.append({tenant: dict(used) for tenant, used in minutes.items()})

    async def close(self) -> None:
        self.away = True


class Edge:
    """A directory of one tenant, and what is written down of it."""

    def __init__(self) -> None:
        self.document = document()
        self.directory = Directory()
        self.directory.update({self.document.id: self.document})
        self.shared = FakeUses()
        self.uses = Uses(self.directory, self.shared, 0.001)

    def use(self, key: str, at: int = NOW) -> Use:
        use = self.directory.accesses[hash_key(key)].use
        use.last = at
        return use


async def test_a_key_is_told_once_for_each_time_that_it_was_used() -> None:
    edge = Edge()
    await edge.uses.tell()
    assert edge.shared.told == []
    edge.use(SERVER_KEY)
    await edge.uses.tell()
    await edge.uses.tell()
    edge.use(SERVER_KEY, NOW + 90 * SECOND)
    edge.use(PUBLIC_KEY)
    await edge.uses.tell()
    tenant = edge.document.id
    assert edge.shared.told == [
        {tenant: {SERVER: MINUTE}},
        {tenant: {SERVER: MINUTE + 1, PUBLIC: MINUTE}},
    ]


async def test_what_could_not_be_told_is_counted_and_told_later() -> None:
    edge = Edge()
    edge.use(SERVER_KEY)
    edge.shared.away = True
    before = failures()
    await edge.uses.tell()
    assert failures() == before + 1
    edge.shared.away = False
    await edge.uses.tell()
    assert edge.shared.told == [{edge.document.id: {SERVER: MINUTE}}]


async def test_a_use_while_it_is_being_told_is_told_the_next_time() -> None:
    edge = Edge()
    edge.shared.meanwhile = edge.use(SERVER_KEY)
    await edge.uses.tell()
    await edge.uses.tell()
    told = [used[edge.document.id][SERVER] for used in edge.shared.told]
    assert told == [MINUTE, MINUTE + 1]


async def test_it_tells_by_itself_and_outlives_an_outage() -> None:
    edge = Edge()
    edge.use(SERVER_KEY)
    edge.shared.away = True
    before = failures()
    running = asyncio.create_task(edge.uses.run())
    async with asyncio.timeout(5):
        while failures() < before + 2:  # noqa: ASYNC110  # nobody has an event to tell
            await asyncio.sleep(0.001)
        edge.shared.away = False
        while not edge.shared.told:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def failures() -> float:
    return REGISTRY.get_sample_value("argus_ingest_uses_failures_total") or 0
