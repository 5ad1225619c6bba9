"""What the logic relies on of the counters, on a real server."""

from datetime import UTC, datetime

import pytest
from argus_contract import redis_keys
from argus_operator.adapters.counters import Counters
from argus_operator.errors import UnavailableError
from redis.asyncio import Redis

from tests.integration.operator.contracts import some_tenant, unused

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


async def test_counters_of_one_pipeline_are_dropped_and_no_others(redis_url: str) -> None:
    client = Redis.from_url(redis_url)
    tenant, other = some_tenant(), some_tenant()
    topic = unused()
    now = round(datetime.now(UTC).timestamp())
    doomed = [
        redis_keys.live(tenant, "web", now),
        redis_keys.live(tenant, "web", now - 3_500),
        redis_keys.fence(tenant, topic, 0),
        redis_keys.fence(tenant, topic, 1),
    ]
    kept = [
        redis_keys.live(tenant, "api", now),
        redis_keys.live(other, "web", now),
        redis_keys.fence(tenant, unused(), 0),
    ]
    for key in (*doomed, *kept):
        await client.set(key, "1", ex=60)

    await Counters(client).drop(tenant, "web", topic, 2)

    assert await client.exists(*doomed) == 0
    assert await client.exists(*kept) == len(kept)
    await client.aclose()


async def test_a_redis_that_is_away_is_unavailable() -> None:
    client = Redis(host="127.0.0.1", port=1)
    with pytest.raises(UnavailableError, match="Redis"):
        await Counters(client).drop(some_tenant(), "web", unused(), 1)
    await client.aclose()
