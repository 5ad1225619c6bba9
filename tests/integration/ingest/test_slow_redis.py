"""A Redis that answers, but slowly: what it may cost the accept path, and that this ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.integration.conftest import REDIS_PORT
from tests.integration.ingest.conftest import HOST, Edge, Kafka, Run, eventually, pipeline, tenant
from tests.integration.ingest.proxy import Proxy, proxied
from tests.integration.ingest.wire import Connection, request

EVENT: Final = b'{"event":"signup"}'
BOUND: Final = 0.2
"""Seconds that Redis may delay a request, once an outage."""
SLACK: Final = 1.0
"""Seconds that a busy machine may add to a bound."""
REQUESTS: Final = 30


@pytest.fixture
async def redis() -> AsyncIterator[Proxy]:
    async with proxied(REDIS_PORT) as proxy:
        yield proxy


def settings(redis: Proxy) -> dict[str, str]:
    return {"REDIS__URL": f"redis://{HOST}:{redis.port}/0", "LIMITS__REDIS_RETRY": "0.2"}


async def away(edge: Edge) -> float:
    return (await edge.metrics())["argus_ingest_limiter_local"]


@pytest.mark.parametrize("delay", [0.08, 0.15, 1.0])
async def test_a_slow_redis_delays_a_few_requests_by_the_bound_and_then_none(
    broker: Kafka, run_edge: Run, redis: Proxy, delay: float
) -> None:
    acme = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme)
    async with run_edge(**settings(redis)) as edge:
        await edge.until_ready()
        await eventually(lambda: away(edge), lambda found: found == 0)
        connection, raw = Connection(edge.port), request(acme.server_key, EVENT)
        before = [(await connection.send(raw)).seconds for _ in range(REQUESTS)]
        redis.delay = delay
        slowed = []
        while await away(edge) == 0:
            answer = await connection.send(raw)
            assert answer.status == 202
            slowed.append(answer.seconds)
        after = [(await connection.send(raw)).seconds for _ in range(REQUESTS)]
        print(
            f"\nRedis {delay * 1e3:g} ms slow: {len(slowed)} requests delayed, by "
            f"{max(slowed) * 1e3:.0f} ms at most, {sum(slowed) * 1e3:.0f} ms in all; the median "
            f"was {middle(before) * 1e3:.1f} ms before and is {middle(after) * 1e3:.1f} ms since"
        )
        assert max(slowed) <= BOUND + SLACK
        assert len(slowed) <= 5
        # It stays away while it is slow, and every request is as quick as with none.
        assert await away(edge) == 1
        assert middle(after) < delay / 2
        redis.delay = 0.0
        await eventually(lambda: away(edge), lambda found: found == 0)
        connection.close()


def middle(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


async def test_a_redis_of_some_milliseconds_is_not_away(
    broker: Kafka, run_edge: Run, redis: Proxy
) -> None:
    acme = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme)
    async with run_edge(**settings(redis)) as edge:
        await edge.until_ready()
        await eventually(lambda: away(edge), lambda found: found == 0)
        redis.delay = 0.01
        clients = [Connection(edge.port) for _ in range(8)]

        async def client(connection: Connection) -> list[int]:
            raw = request(acme.server_key, EVENT)
            return [(await connection.send(raw)).status for _ in range(REQUESTS)]

        answers = await asyncio.gather(*map(client, clients))
        for connection in clients:
            connection.close()
        assert {status for statuses in answers for status in statuses} == {202}
        metrics = await edge.metrics()
        assert metrics["argus_ingest_limiter_failures_total"] == 0
