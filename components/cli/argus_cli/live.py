"""Reads the live counters: how many events Redis counted in each second of receipt."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argus_contract import redis_keys
from argus_contract.names import TenantId
from argus_runtime.redis import connect
from argus_runtime.settings import RedisSettings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from argus_cli.errors import UnreachableError


class Live:
    """The live counters of one installation; get one from `reading`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def counted(
        self, tenant: TenantId, pipelines: tuple[str, ...], seconds: range
    ) -> dict[str, int]:
        """Events by name, summed over pipelines and seconds since the epoch."""
        pipe = self._redis.pipeline(transaction=False)
        for pipeline in pipelines:
            for second in seconds:
                pipe.hgetall(redis_keys.live(tenant, pipeline, second))
        sums: dict[str, int] = {}
        for counters in await pipe.execute():
            for name, count in counters.items():
                event = name.decode()
                sums[event] = sums.get(event, 0) + int(count)
        return sums


@asynccontextmanager
async def reading(settings: RedisSettings) -> AsyncIterator[Live]:
    """A connected view; raises UnreachableError where Redis does not answer."""
    redis = connect(settings)
    try:
        await redis.ping()
        yield Live(redis)
    except RedisError as error:
        raise UnreachableError("Redis", error) from error
    finally:
        await redis.aclose()
