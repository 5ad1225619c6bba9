"""When keys were last used, in Redis: one hash a tenant, all written in one round trip a node.

On connections of its own, so that it never stands before the token buckets.
"""

import asyncio
from itertools import chain
from typing import Any, Final

from argus_contract import redis_keys
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from argus_ingest.adapters.redis_cluster_buckets import TROUBLE
from argus_ingest.uses import Minutes, UsesAwayError

_LIFE: Final = 90 * 86_400
"""Seconds after the last use of any of its keys that a tenant's hash is kept."""


class RedisUses:
    """Uses in one Redis or Valkey, or in a cluster."""

    def __init__(self, redis: Redis | RedisCluster, timeout: float) -> None:
        """Owns `redis`: `close` closes it. `timeout` in seconds bounds each writing."""
        self._redis = redis
        self._timeout = timeout

    async def mark(self, minutes: Minutes) -> None:
        """Nothing of it is a transaction: each of the hashes stands for itself."""
        pipeline = self._redis.pipeline(transaction=False)
        for tenant, used in minutes.items():
            key = redis_keys.used(tenant)
            fields: list[Any] = [*chain.from_iterable(used.items())]
            pipeline.hset(key, items=fields)
            pipeline.expire(key, _LIFE)
        try:
            async with asyncio.timeout(self._timeout):
                await pipeline.execute()
        except (*TROUBLE, TimeoutError) as error:
            raise UsesAwayError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Disconnects for good."""
        await self._redis.aclose()
