"""Quotas over the wire: what a client is told, that processes share one, and how one is rebuilt."""

import asyncio
import time
from email.utils import formatdate

import pytest
from argus_contract import quotas, redis_keys
from argus_contract.quotas import Usage
from argus_contract.registry import Limits
from argus_contract.times import SECOND
from argus_runtime import assets
from redis.asyncio import Redis

from tests.integration.conftest import REDIS_PORT
from tests.integration.ingest.conftest import PLENTY, Edge, Kafka, Run, Tenant, pipeline, tenant
from tests.integration.ingest.proxy import proxied
from tests.integration.ingest.test_outages import AWAY, redis_at, until_metric

MARGIN = 60.0
"""Seconds before midnight in which no test of a day's quota begins."""


@pytest.fixture
async def _same_day() -> None:
    """A day, and so a month, does not end while a test counts in it."""
    left = 86_400 - time.time() % 86_400
    if left < MARGIN:
        await asyncio.sleep(left + 0.1)


pytestmark = [pytest.mark.usefixtures("_same_day"), pytest.mark.timeout(120)]


def events(count: int) -> bytes:
    return b"[" + b",".join([b'{"event":"signup"}'] * count) + b"]"


async def limited(broker: Kafka, *, daily: int | None = None, monthly: int | None = None) -> Tenant:
    made = tenant(pipeline("main", await broker.create()))
    made = made.changed(limits=Limits(PLENTY, PLENTY, daily=daily, monthly=monthly))
    await broker.publish(made)
    return made


async def until_shared(*edges: Edge) -> None:
    """Until they are ready and ask the shared buckets."""
    for edge in edges:
        await edge.until_ready()
        await until_metric(edge, AWAY, 0)


async def test_a_client_is_told_what_is_left_and_when_it_starts_anew(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, daily=10, monthly=1_000)
    async with run_edge() as edge:
        await until_shared(edge)
        first = await edge.post(acme.server_key, events(7))
        assert first.status_code == 202
        assert '"day";q=10;w=86400, "month";q=1000' in first.headers["ratelimit-policy"]
        refused = await edge.post(acme.server_key, events(4))
        assert refused.status_code == 429
        left = 86_400 - time.time() % 86_400
        assert int(refused.headers["retry-after"]) == pytest.approx(left, abs=5)
        assert refused.headers["ratelimit"].startswith('"day";r=3;t=')
        problem = refused.json()
        tomorrow = formatdate(time.time() + left + 1)
        assert (problem["type"], problem["quota"], problem["limit"]) == (
            "urn:argus:problem:quota-exceeded",
            "day",
            10,
        )
        assert problem["resetsAt"].endswith("T00:00:00Z")
        assert int(problem["resetsAt"][8:10]) == int(tomorrow.split()[1])
        assert (await edge.post(acme.server_key, events(3))).status_code == 202
        assert (await edge.post(acme.public_key, events(1))).status_code == 429
        sample = f'argus_ingest_limited_total{{bucket="day",tenant="{acme.document.display}"}}'
        assert (await edge.metrics())[sample] == 2
    assert len(await broker.records(acme.topic)) == 10


async def test_two_processes_let_pass_no_event_more_than_one_would(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, daily=100)
    async with run_edge() as one, run_edge() as other:
        await until_shared(one, other)
        answers = await asyncio.gather(
            *(edge.post(acme.server_key, events(3)) for edge in (one, other) for _ in range(30))
        )
    assert {answer.status_code for answer in answers} == {202, 429}
    assert sum(answer.status_code == 202 for answer in answers) == 33
    assert len(await broker.records(acme.topic)) == 99


async def test_what_redis_lost_is_put_right_by_a_floor(
    broker: Kafka, run_edge: Run, redis: Redis
) -> None:
    acme = await limited(broker, monthly=10)
    key = redis_keys.usage(acme.document.id)
    script = assets.path("lua", "token_bucket.lua").read_text()
    async with run_edge() as edge:
        await until_shared(edge)
        assert (await edge.post(acme.server_key, events(10))).status_code == 202
        assert (await edge.post(acme.server_key, events(1))).status_code == 429
        await redis.delete(key)
        await asyncio.sleep(1.1)  # as long as a refusal is remembered
        assert (await edge.post(acme.server_key, events(1))).status_code == 202
        floor = Usage.none(time.time_ns() // 1_000)._replace(daily=11, monthly=11)
        await redis.eval(script, 1, key, quotas.raising(floor))
        assert (await edge.post(acme.server_key, events(1))).status_code == 429


async def test_while_redis_is_away_no_quota_is_judged_and_afterwards_it_is_again(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, daily=5)
    async with proxied(REDIS_PORT) as proxy, run_edge(**redis_at(proxy)) as edge:
        await until_shared(edge)
        assert (await edge.post(acme.server_key, events(5))).status_code == 202
        assert (await edge.post(acme.server_key, events(1))).status_code == 429
        await proxy.refuse()
        # A refusal that is remembered ends with the first call that fails.
        await asyncio.sleep(1.1)
        assert (await edge.post(acme.server_key, events(6))).status_code == 202
        await proxy.start()
        await until_metric(edge, AWAY, 0)
        assert (await edge.post(acme.server_key, events(1))).status_code == 429


async def test_a_raised_quota_counts_at_once(broker: Kafka, run_edge: Run) -> None:
    acme = await limited(broker, daily=5)
    async with run_edge() as edge:
        await until_shared(edge)
        assert (await edge.post(acme.server_key, events(5))).status_code == 202
        assert (await edge.post(acme.server_key, events(1))).status_code == 429
        raised = acme.changed(limits=Limits(PLENTY, PLENTY, daily=6), revision=2)
        await broker.publish(raised)
        deadline = time.time_ns() + 5 * SECOND * 1_000
        status = 429
        while status == 429 and time.time_ns() < deadline:
            status = (await edge.post(acme.server_key, events(1))).status_code
        assert status == 202
        assert (await edge.post(acme.server_key, events(1))).status_code == 429
