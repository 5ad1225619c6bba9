"""Counters in Redis of a tenant or pipeline that is deleted with its data.

Keys are named, never searched for: a SCAN would walk every tenant's. Buckets of limits expire by
themselves.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from argus_contract import redis_keys
from argus_contract.names import TenantId, TopicName
from redis.asyncio import Redis
from redis.exceptions import RedisError

from argus_operator import metrics
from argus_operator.errors import UnavailableError

_SLACK_S: Final = 120
_CHUNK: Final = 500


@contextmanager
def answering() -> Iterator[None]:
    """Calls of Redis; what goes wrong is UnavailableError."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        metrics.DEPENDENCY_ERRORS.labels("redis").inc()
        raise UnavailableError("RedisUnavailable", f"Redis: {error!r}") from error


class Counters:
    """Drops counters."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def drop(
        self, tenant: TenantId, pipeline: str, topic: TopicName, partitions: int
    ) -> None:
        """Drops a pipeline's counts and fences; absent is fine. Raises UnavailableError."""
        keys = _keys(tenant, pipeline, topic, partitions, round(time.time()))
        with answering():
            while chunk := list(itertools.islice(keys, _CHUNK)):
                await self._client.unlink(*chunk)

    async def drop_tenant(self, tenant: TenantId) -> None:
        """Drops what is counted of a tenant itself; absent is fine. Raises UnavailableError."""
        with answering():
            await self._client.unlink(redis_keys.usage(tenant), redis_keys.used(tenant))

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.aclose()


def _keys(
    tenant: TenantId, pipeline: str, topic: TopicName, partitions: int, now: int
) -> Iterator[str]:
    for second in range(now - redis_keys.LIVE_WINDOW_SECONDS - _SLACK_S, now + _SLACK_S):
        yield redis_keys.live(tenant, pipeline, second)
    for partition in range(partitions):
        yield redis_keys.fence(tenant, topic, partition)
