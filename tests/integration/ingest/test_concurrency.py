"""Concurrency over the wire: bodies that are still coming hold their places."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from argus_contract.registry import Limits

from tests.integration.ingest.conftest import (
    HOST,
    PLENTY,
    Edge,
    Kafka,
    Run,
    Tenant,
    eventually,
    pipeline,
    tenant,
)
from tests.integration.ingest.wire import request

EVENT = b'{"event":"signup"}'
Slow = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def limited(broker: Kafka, concurrency: int, *, observe: bool = False) -> Tenant:
    made = tenant(pipeline("main", await broker.create()))
    limits = Limits(PLENTY, PLENTY, concurrency=concurrency, observe=observe)
    made = made.changed(limits=limits)
    await broker.publish(made)
    return made


@asynccontextmanager
async def held(edge: Edge, who: Tenant, requests: int) -> AsyncIterator[list[Slow]]:
    """So many requests whose last byte is not sent."""
    slow = [await asyncio.open_connection(HOST, edge.port) for _ in range(requests)]
    try:
        for _, writer in slow:
            writer.write(request(who.server_key, EVENT)[:-1])
            await writer.drain()
        bytes_held = "argus_ingest_bytes_in_flight"
        await eventually(edge.metrics, lambda found: found[bytes_held] >= requests * 16 * 1024)
        yield slow
    finally:
        for _, writer in slow:
            writer.close()


async def finish(slow: Slow) -> int:
    """Sends the last byte; the answer's status."""
    reader, writer = slow
    writer.write(EVENT[-1:])
    return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


async def test_beyond_it_requests_are_refused_until_one_is_answered(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, 4)
    other = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme, other)
    async with run_edge() as edge:
        await edge.until_ready()
        async with held(edge, acme, 4) as slow:
            refused = await edge.post(acme.server_key, EVENT)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            problem = refused.json()
            assert problem["type"] == "urn:argus:problem:too-many-requests-in-flight"
            assert problem["limit"] == 4
            # Whatever key: it is the tenant's; and it is no other tenant's.
            assert (await edge.post(acme.public_key, EVENT)).status_code == 429
            assert (await edge.post(other.server_key, EVENT)).status_code == 202
            assert await finish(slow[0]) == 202
            assert (await edge.post(acme.server_key, EVENT)).status_code == 202
            assert [await finish(one) for one in slow[1:]] == [202] * 3
        metrics = await edge.metrics()
        labels = f'bucket="concurrency",tenant="{acme.document.display}"'
        assert metrics[f"argus_ingest_limited_total{{{labels}}}"] == 2


async def test_each_of_two_processes_has_its_half_and_a_client_that_is_gone_holds_nothing(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, 4)
    async with run_edge(REPLICAS="2") as edge:
        await edge.until_ready()
        async with held(edge, acme, 2):
            assert (await edge.post(acme.server_key, EVENT)).status_code == 429

        async def status() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        await eventually(status, lambda found: found == 202)


async def test_observed_it_refuses_nobody(broker: Kafka, run_edge: Run) -> None:
    acme = await limited(broker, 1, observe=True)
    async with run_edge() as edge:
        await edge.until_ready()
        async with held(edge, acme, 3) as slow:
            answer = await edge.post(acme.server_key, EVENT)
            assert answer.status_code == 202, json.dumps(answer.json())
            assert [await finish(one) for one in slow] == [202] * 3
        labels = f'bucket="concurrency",tenant="{acme.document.display}"'
        found = (await edge.metrics())[f"argus_ingest_would_limit_total{{{labels}}}"]
        assert found == pytest.approx(3)
