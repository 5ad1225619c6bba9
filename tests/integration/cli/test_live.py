import secrets

import pytest
from argus_cli.errors import UnreachableError
from argus_cli.live import reading
from argus_contract import redis_keys
from argus_contract.names import TenantId
from argus_runtime.redis import connect
from argus_runtime.settings import RedisSettings


async def test_counts_are_summed_over_seconds_and_pipelines(redis_url: str) -> None:
    settings = RedisSettings(url=redis_url)
    tenant = TenantId(f"cli.{secrets.token_hex(4)}.00000000")
    redis = connect(settings)
    for pipeline, second, event, count in (
        ("web", 100, "click", 2),
        ("web", 101, "click", 3),
        ("web", 101, "page_view", 5),
        ("api", 101, "page_view", 7),
        ("web", 102, "click", 1_000),
    ):
        key = redis_keys.live(tenant, pipeline, second)
        await redis.hset(key, event, str(count))
        await redis.expire(key, 60)
    await redis.aclose()

    async with reading(settings) as live:
        counted = await live.counted(tenant, ("web", "api"), range(100, 102))

    assert counted == {"click": 5, "page_view": 12}


async def test_a_redis_that_does_not_answer_is_said_plainly() -> None:
    with pytest.raises(UnreachableError, match="Redis"):
        async with reading(RedisSettings(url="redis://127.0.0.1:1/0", timeout=1.0)):
            pytest.fail("nobody listens there")
