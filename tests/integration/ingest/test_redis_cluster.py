"""The token bucket in a Redis Cluster: a node that refuses calls across hash slots."""

import asyncio
import secrets
import subprocess
from collections.abc import Iterator

import pytest
from argus_contract import redis_keys
from argus_contract.keys import KeyHash
from argus_contract.registry import Bucket
from argus_ingest.adapters.redis_buckets import RedisBuckets
from argus_ingest.adapters.redis_cluster_buckets import RedisClusterBuckets, connect
from argus_ingest.adapters.redis_uses import RedisUses
from argus_ingest.buckets import KEY, MONTH, NOBODY, Quota
from argus_ingest.limit import BucketsAwayError
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import RedisSettings

from tests.integration.ingest.conftest import HOST, free_port
from tests.integration.ingest.test_token_bucket import check, new_tenant

VALKEY = "argus-test-valkey"
PASSWORD = "cluster"
LIMIT = Bucket(0.001, 10)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisSettings]:
    """One node that has all slots, from the image of the engine that the tests use."""
    image = docker("inspect", "-f", "{{.Image}}", VALKEY)
    name, port = f"argus-ingest-test-cluster-{secrets.token_hex(4)}", free_port()
    server = ("valkey-server", "--cluster-enabled", "yes", "--requirepass", PASSWORD)
    announced = ("--cluster-announce-ip", HOST, "--cluster-announce-port", str(port))
    published = ("-p", f"{HOST}:{port}:6379")
    docker("run", "-d", "--name", name, *published, image, *server, "--save", "", *announced)
    try:
        cli = ("exec", "-e", f"REDISCLI_AUTH={PASSWORD}", name, "valkey-cli")
        asyncio.run(until_answers(cli))
        docker(*cli, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        asyncio.run(until_answers((*cli, "SET", "ready", "1")))
        yield RedisSettings(url=f"redis://:{PASSWORD}@{HOST}:{port}/0")
    finally:
        docker("rm", "-fv", name)


async def until_answers(command: tuple[str, ...]) -> None:
    for _ in range(100):
        arguments = command if command[-1] == "1" else (*command, "PING")
        done = await asyncio.to_thread(
            subprocess.run, ["docker", *arguments], capture_output=True, text=True
        )
        if done.stdout.strip() in ("PONG", "OK"):
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"the cluster's node does not answer: {done.stdout} {done.stderr}")


async def test_one_call_cannot_touch_two_tenants_buckets(cluster: RedisSettings) -> None:
    buckets = RedisBuckets(runtime_redis.connect(cluster))
    await buckets.connect()
    with pytest.raises(BucketsAwayError, match="slot"):
        await buckets.judge([check(new_tenant()), check(new_tenant())])
    await buckets.close()


async def test_a_tick_is_one_call_a_tenant_and_keeps_the_order(cluster: RedisSettings) -> None:
    buckets = RedisClusterBuckets(connect(cluster))
    await buckets.connect()
    tenants = [new_tenant() for _ in range(5)]
    checks = [
        check(tenant, 1, LIMIT, address="a", address_limit=LIMIT)
        for _ in range(12)
        for tenant in tenants
    ]
    verdicts = await buckets.judge(checks)
    for first in range(5):
        refused = [verdict.refused for verdict in verdicts[first::5]]
        assert refused == [NOBODY] * 10 + [KEY | 1] * 2
        assert [v.key_left for v in verdicts[first::5]] == [*range(9, -1, -1), 0, 0]
    await buckets.close()


async def test_a_tenant_s_quota_is_judged_with_its_buckets(cluster: RedisSettings) -> None:
    buckets = RedisClusterBuckets(connect(cluster))
    await buckets.connect()
    tenants = [new_tenant() for _ in range(3)]
    checks = [
        check(one)._replace(quota=Quota(redis_keys.usage(one), 0, 5))
        for _ in range(6)
        for one in tenants
    ]
    verdicts = await buckets.judge(checks)
    assert [verdict.refused for verdict in verdicts] == [NOBODY] * 15 + [MONTH] * 3
    await buckets.close()


async def test_uses_of_many_tenants_are_written_to_the_nodes_that_have_them(
    cluster: RedisSettings,
) -> None:
    client, tenants = connect(cluster), [new_tenant() for _ in range(20)]
    uses = RedisUses(client, 5.0)
    await uses.mark({one: {KeyHash("k"): 7} for one in tenants})
    for one in tenants:
        assert await client.hgetall(redis_keys.used(one)) == {b"k": b"7"}
    await uses.close()


async def test_a_node_that_forgot_the_script_learns_it_again(cluster: RedisSettings) -> None:
    client = connect(cluster)
    buckets = RedisClusterBuckets(client)
    await buckets.connect()
    await client.script_flush()
    assert (await buckets.judge([check(new_tenant())]))[0].refused == NOBODY
    await buckets.close()


async def test_a_cluster_that_is_not_there_is_away() -> None:
    buckets = RedisClusterBuckets(connect(RedisSettings(url=f"redis://{HOST}:1/0")))
    with pytest.raises(BucketsAwayError):
        await buckets.connect()
    await buckets.close()
