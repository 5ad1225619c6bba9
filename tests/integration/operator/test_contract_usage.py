"""What the logic relies on of usage: held by the unit tests' fake and by a real Redis's script."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from argus_contract import quotas, redis_keys
from argus_contract.keys import KeyHash, hash_key
from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_contract.times import to_micros
from argus_operator.adapters.counters import Counters
from argus_operator.adapters.usage import RedisUsage
from argus_operator.errors import UnavailableError
from argus_operator.ports import CounterStore, UsageStore
from redis.asyncio import Redis

from tests.integration.operator.contracts import BOTH, some_tenant
from tests.unit.operator.fakes import FakeCounters, FakeUsage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

HASH = hash_key("ak_1")


@dataclass
class Side:
    """A store, and ingest's hand in it."""

    store: UsageStore
    counters: CounterStore
    redis: Redis | None = None
    fake: FakeUsage = field(default_factory=FakeUsage)

    async def count(self, tenant: TenantId, usage: Usage) -> None:
        """Ingest has counted so much."""
        if self.redis is None:
            self.fake.usage[tenant] = usage
        else:
            await self.redis.set(redis_keys.usage(tenant), quotas.render(usage), ex=600)

    async def use(self, tenant: TenantId, minutes: Mapping[KeyHash, int]) -> None:
        """Ingest has seen these keys."""
        if self.redis is None:
            self.fake.used[tenant] = dict(minutes)
        else:
            held = {hash_: str(minute) for hash_, minute in minutes.items()}
            await self.redis.hset(redis_keys.used(tenant), mapping=held)  # type: ignore[arg-type]
            await self.redis.expire(redis_keys.used(tenant), 600)

    async def now(self) -> int:
        """The store's clock."""
        return (await self.store.read([], [])).now


@pytest_asyncio.fixture(loop_scope="session")
async def side(kind: str, redis_url: str) -> AsyncIterator[Side]:
    if kind == "fake":
        fake = FakeUsage(now=datetime.now(UTC))
        yield Side(fake, FakeCounters(fake), None, fake)
        return
    client = Redis.from_url(redis_url)
    yield Side(RedisUsage(client), Counters(client), client)
    await client.aclose()


def at(now: int, daily: int, monthly: int) -> Usage:
    return Usage(quotas.day_of(now), daily, quotas.month_of(now), monthly)


@BOTH
async def test_what_ingest_counted_is_read_and_what_it_did_not_is_absent(side: Side) -> None:
    counted, silent = some_tenant(), some_tenant()
    usage = at(await side.now(), 7, 70)
    await side.count(counted, usage)
    await side.use(counted, {HASH: 29_000_000})
    reading = await side.store.read([counted, silent], [silent, counted])

    assert reading.usage == {counted: usage}
    assert reading.used == {counted: {HASH: 29_000_000}}
    assert abs(reading.now - time.time_ns() // 1_000) < 60_000_000


@BOTH
async def test_only_what_was_asked_for_is_read(side: Side) -> None:
    one, other = some_tenant(), some_tenant()
    for tenant in (one, other):
        await side.count(tenant, at(await side.now(), 1, 1))
        await side.use(tenant, {HASH: 1})
    reading = await side.store.read([one], [other])

    assert (set(reading.usage), set(reading.used)) == ({one}, {other})


@BOTH
async def test_what_was_lost_is_there_again_even_where_it_is_nothing(side: Side) -> None:
    lost, idle = some_tenant(), some_tenant()
    now = await side.now()
    floors = {lost: at(now, 7, 70), idle: at(now, 0, 0)}
    await side.store.raise_to(floors)

    assert (await side.store.read([lost, idle], [])).usage == floors


@BOTH
async def test_each_count_is_raised_for_itself_and_none_lowered(side: Side) -> None:
    tenant = some_tenant()
    now = await side.now()
    await side.count(tenant, at(now, 9, 50))
    await side.store.raise_to({tenant: at(now, 7, 70)})

    assert (await side.store.read([tenant], [])).usage == {tenant: at(now, 9, 70)}


@BOTH
async def test_a_floor_of_a_day_or_month_that_is_over_changes_nothing(side: Side) -> None:
    tenant = some_tenant()
    now = await side.now()
    await side.count(tenant, at(now, 9, 50))
    day, month = quotas.day_of(now), quotas.month_of(now)
    await side.store.raise_to({tenant: Usage(day - 1, 1_000, month - 1, 1_000)})

    assert (await side.store.read([tenant], [])).usage == {tenant: at(now, 9, 50)}


@BOTH
async def test_hundreds_are_read_and_raised(side: Side) -> None:
    tenants = [some_tenant() for _ in range(1_100)]
    floor = at(await side.now(), 1, 2)
    await side.store.raise_to(dict.fromkeys(tenants, floor))
    reading = await side.store.read(tenants, tenants)
    for tenant in tenants:
        await side.counters.drop_tenant(tenant)

    assert reading.usage == dict.fromkeys(tenants, floor)


@BOTH
async def test_what_was_counted_of_a_tenant_is_dropped_and_of_no_other(side: Side) -> None:
    doomed, other = some_tenant(), some_tenant()
    for tenant in (doomed, other):
        await side.count(tenant, at(await side.now(), 1, 1))
        await side.use(tenant, {HASH: 1})
    for _ in range(2):
        await side.counters.drop_tenant(doomed)
    reading = await side.store.read([doomed, other], [doomed, other])

    assert (set(reading.usage), set(reading.used)) == ({other}, {other})


async def test_what_a_strange_hand_wrote_tells_nothing(redis_url: str) -> None:
    tenant = some_tenant()
    async with Redis.from_url(redis_url) as client:
        await client.set(redis_keys.usage(tenant), "plenty", ex=60)
        await client.hset(redis_keys.used(tenant), mapping={HASH: "now", "b": "7"})
        await client.expire(redis_keys.used(tenant), 60)
        reading = await RedisUsage(client).read([tenant], [tenant])

    assert reading.usage == {}
    assert reading.used == {tenant: {"b": 7}}


async def test_a_redis_that_is_away_is_unavailable() -> None:
    tenant = some_tenant()
    async with Redis(host="127.0.0.1", port=1) as client:
        store = RedisUsage(client)
        for call in (
            store.read([tenant], []),
            store.raise_to({tenant: at(to_micros(datetime.now(UTC)), 1, 1)}),
            Counters(client).drop_tenant(tenant),
        ):
            async with asyncio.timeout(30):
                with pytest.raises(UnavailableError, match="Redis"):
                    await call
