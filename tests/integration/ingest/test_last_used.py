"""When keys were last used, as a running edge writes it down."""

import time

import pytest
from argus_contract import redis_keys
from argus_contract.keys import KeyHash, hash_key
from argus_contract.names import TenantId
from argus_contract.registry import Bucket
from argus_ingest.adapters.redis_uses import RedisUses
from argus_ingest.uses import UsesAwayError
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import RedisSettings
from redis.asyncio import Redis

from tests.integration.conftest import REDIS_PORT
from tests.integration.ingest.conftest import HOST, PLENTY, Kafka, Run, eventually, pipeline, tenant
from tests.integration.ingest.proxy import proxied
from tests.integration.ingest.test_outages import redis_at
from tests.integration.ingest.test_token_bucket import new_tenant

EVENT = b'{"event":"signup"}'
DAY = 86_400


async def used(redis: Redis, who: TenantId) -> dict[str, int]:
    """The minute of each key's last use, by its hash."""
    found = await redis.hgetall(redis_keys.used(who))
    return {str(key, "ascii"): int(minute) for key, minute in found.items()}  # type: ignore[arg-type]


def now() -> int:
    """This minute."""
    return int(time.time()) // 60


async def test_each_key_that_was_used_is_written_down_and_no_other(
    broker: Kafka, run_edge: Run, redis: Redis
) -> None:
    acme = tenant(pipeline("main", await broker.create()), per_key=Bucket(0.001, 1))
    quiet = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme, quiet)
    async with run_edge(LIMITS__USES_INTERVAL="0.2") as edge:
        await edge.until_ready()
        first = now()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        assert (await edge.post("argus_unknown", EVENT)).status_code == 401
        of_acme = acme.document.id
        found = await eventually(lambda: used(redis, of_acme), bool)
        assert found.keys() == {hash_key(acme.server_key)}
        assert first <= found[hash_key(acme.server_key)] <= now()
        assert 89 * DAY < await redis.ttl(redis_keys.used(of_acme)) <= 90 * DAY
        assert (await edge.post(acme.public_key, EVENT)).status_code == 202
        found = await eventually(lambda: used(redis, of_acme), lambda held: len(held) == 2)
        assert hash_key(acme.public_key) in found
        assert await used(redis, quiet.document.id) == {}


async def test_what_is_new_is_written_down_before_the_process_ends(
    broker: Kafka, run_edge: Run, redis: Redis
) -> None:
    acme = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme)
    async with run_edge() as edge:
        await edge.until_ready()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        assert await used(redis, acme.document.id) == {}
    assert (await used(redis, acme.document.id)).keys() == {hash_key(acme.server_key)}


@pytest.mark.parametrize("how", ["hang", "refuse"])
async def test_while_redis_is_away_requests_pass_and_it_is_written_down_later(
    broker: Kafka, run_edge: Run, redis: Redis, how: str
) -> None:
    acme = tenant(pipeline("main", await broker.create()), per_key=PLENTY)
    await broker.publish(acme)
    async with (
        proxied(REDIS_PORT) as proxy,
        run_edge(**redis_at(proxy), LIMITS__USES_INTERVAL="0.2", REDIS__TIMEOUT="0.3") as edge,
    ):
        await edge.until_ready()
        if how == "hang":
            proxy.hang()
        else:
            await proxy.refuse()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202

        async def failures() -> float:
            return (await edge.metrics())["argus_ingest_uses_failures_total"]

        await eventually(failures, lambda count: count >= 1)
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        proxy.resume()
        if how == "refuse":
            await proxy.start()
        await eventually(lambda: used(redis, acme.document.id), bool)


async def test_many_tenants_are_one_writing_and_the_last_one_counts(redis: Redis) -> None:
    tenants = [new_tenant() for _ in range(500)]
    uses = RedisUses(redis, 5.0)
    await uses.mark({one: {KeyHash("k"): 7, KeyHash("l"): 8} for one in tenants})
    await uses.mark({tenants[0]: {KeyHash("k"): 9}})
    assert await used(redis, tenants[0]) == {"k": 9, "l": 8}
    assert await used(redis, tenants[-1]) == {"k": 7, "l": 8}


async def test_a_redis_that_is_not_there_is_away() -> None:
    client = runtime_redis.connect(RedisSettings(url=f"redis://{HOST}:1/0"))
    uses = RedisUses(client, 0.5)
    with pytest.raises(UsesAwayError):
        await uses.mark({new_tenant(): {KeyHash("k"): 7}})
    await uses.close()
