"""Runs over a house, one after the other: what to offer, to whom, and what it is measured on."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
from argus_runtime import redis as runtime_redis
from redis.asyncio import Redis

from bench import stats
from bench.house import House, Setting
from bench.ledger import Ledger
from bench.load import Offer
from bench.trial import System
from bench.visibility import Watch


class Session:
    """A house, connected to; numbers runs so that their ids differ."""

    def __init__(
        self,
        setting: Setting,
        house: House,
        pool: "asyncpg.Pool[asyncpg.Record]",
        redis: Redis,
    ) -> None:
        self.setting = setting
        self.house = house
        self._pool = pool
        self._redis = redis
        self._number = 0

    def ledger(self, group: str) -> Ledger:
        """The ledger of a group's pipelines."""
        tenants = self.house.tenants[group]
        return Ledger(self._pool, [one for tenant in tenants for one in tenant.pipelines])

    def system(self, group: str) -> System:
        """All processes, and a group's ledger."""
        return System(self.house.roots, self.ledger(group))

    def watch(self, group: str) -> Watch:
        """A watch over a group's rows and counters."""
        return Watch(self._pool, self._redis, self.house.tenants[group])

    def offer(
        self,
        group: str,
        mode: str,
        *,
        events: float | None = None,
        seconds: float = 0.0,
        addresses: int | None = None,
    ) -> Offer:
        """A new run's offer to a group, its traffic spread by Zipf's law.

        `events` a second, or as many as it takes; `addresses` of clients, or the setting's.
        """
        setting, tenants = self.setting, self.house.tenants[group]
        self._number += 1
        single = mode == "single"
        batch = 1 if single else setting.batch
        return Offer(
            ports=self.house.ports,
            keys=tuple(tenant.key for tenant in tenants),
            weights=tuple(stats.zipf(len(tenants))),
            addresses=setting.addresses if addresses is None else addresses,
            connections=setting.connections if single else setting.batch_connections,
            batch=batch,
            seconds=seconds,
            rate=None if events is None else events / batch,
            run=self._number,
        )


@asynccontextmanager
async def session(setting: Setting, house: House) -> AsyncIterator[Session]:
    """Connected to the house's database and Redis until the block ends."""
    async with AsyncExitStack() as stack:
        pool = await asyncpg.create_pool(**house.database, min_size=1, max_size=4)
        stack.push_async_callback(pool.close)
        redis = runtime_redis.connect(house.redis)
        stack.push_async_callback(redis.aclose)
        yield Session(setting, house, pool, redis)
