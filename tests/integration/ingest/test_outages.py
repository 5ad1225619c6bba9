"""An engine hangs or is gone: what clients see, and that it passes by itself."""

import asyncio
import time

import pytest
from argus_contract.registry import Bucket

from tests.integration.conftest import KAFKA_PORT, REDIS_PORT
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
from tests.integration.ingest.proxy import Proxy, proxied

EVENT = b'{"event":"signup"}'
SLACK = 1.5
"""Seconds that a busy machine may add to a bound."""
AWAY = "argus_ingest_limiter_local"


async def until_metric(edge: Edge, name: str, value: float) -> None:
    async def read() -> float:
        return (await edge.metrics())[name]

    await eventually(read, lambda found: found == value)


async def new_tenant(broker: Kafka, per_key: Bucket = PLENTY) -> Tenant:
    made = tenant(pipeline("main", await broker.create()), per_key=per_key)
    await broker.publish(made)
    return made


def redis_at(proxy: Proxy) -> dict[str, str]:
    return {"REDIS__URL": f"redis://{HOST}:{proxy.port}/0", "LIMITS__REDIS_RETRY": "0.2"}


@pytest.mark.parametrize("how", ["hang", "refuse"])
async def test_without_redis_local_buckets_decide_within_the_bound_and_only_for_a_while(
    broker: Kafka, run_edge: Run, how: str
) -> None:
    acme = await new_tenant(broker, per_key=Bucket(0.01, 100))
    # Two replicas: alone, this one may give a tenant half of its limits.
    async with (
        proxied(REDIS_PORT) as redis,
        run_edge(**redis_at(redis), REPLICAS="2") as edge,
    ):
        await edge.until_ready()
        await until_metric(edge, AWAY, 0)
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        if how == "hang":
            redis.hang()
        else:
            await redis.refuse()
        began = time.monotonic()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        assert time.monotonic() - began < 0.2 + SLACK
        assert (await edge.metrics())[AWAY] == 1
        answers = await asyncio.gather(*(edge.post(acme.server_key, EVENT) for _ in range(60)))
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(202), statuses.count(429)) == (49, 11)
        redis.resume()
        if how == "refuse":
            await redis.start()
        await until_metric(edge, AWAY, 0)
        fifty = b"[" + b",".join([EVENT] * 50) + b"]"
        assert (await edge.post(acme.server_key, fifty)).status_code == 202


async def test_without_redis_from_the_start_events_are_accepted(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await new_tenant(broker)
    async with proxied(REDIS_PORT) as redis:
        await redis.refuse()
        async with run_edge(**redis_at(redis)) as edge:
            await edge.until_ready()
            assert (await edge.post(acme.server_key, EVENT)).status_code == 202
            await redis.start()
            await until_metric(edge, AWAY, 0)


@pytest.mark.parametrize("how", ["hang", "refuse"])
async def test_without_kafka_503_within_the_delivery_timeout_and_nothing_is_held(
    broker: Kafka, run_edge: Run, how: str
) -> None:
    acme = await new_tenant(broker)
    async with proxied(KAFKA_PORT, is_kafka=True) as kafka:
        settings = {
            "KAFKA__BOOTSTRAP": f"{HOST}:{kafka.port}",
            "PUBLISH__DELIVERY_TIMEOUT": "2",
        }
        async with run_edge(**settings) as edge:
            await edge.until_ready()
            assert (await edge.post(acme.server_key, EVENT)).status_code == 202
            if how == "hang":
                kafka.hang()
            else:
                await kafka.refuse()
            began = time.monotonic()
            answers = await asyncio.gather(*(edge.post(acme.server_key, EVENT) for _ in range(50)))
            assert time.monotonic() - began < 2 + SLACK
            for answer in answers:
                assert answer.status_code == 503
                assert answer.json()["type"] == "urn:argus:problem:log-unavailable"
                assert int(answer.headers["retry-after"]) >= 1
            assert (await edge.ready())[0] == 200
            if how == "hang":
                kafka.resume()
            else:
                await kafka.start()

            async def again() -> int:
                return (await edge.post(acme.server_key, EVENT)).status_code

            await eventually(again, lambda status: status == 202, 30)
            await until_metric(edge, "argus_ingest_bytes_in_flight", 0)


async def test_more_bytes_in_flight_than_the_process_may_hold_are_503_at_once(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await new_tenant(broker)
    async with proxied(KAFKA_PORT, is_kafka=True) as kafka:
        settings = {
            "KAFKA__BOOTSTRAP": f"{HOST}:{kafka.port}",
            "PUBLISH__DELIVERY_TIMEOUT": "2",
            "LIMITS__BODY_BYTES": "20000",
            "LIMITS__INFLATED_BYTES": "20000",
            "LIMITS__EVENTS": "10",
            "LIMITS__BYTES_IN_FLIGHT": "160000",
        }
        async with run_edge(**settings) as edge:
            await edge.until_ready()
            assert (await edge.post(acme.server_key, EVENT)).status_code == 202
            kafka.hang()
            large = b'{"event":"signup","properties":{"a":"%b"}}' % (b"x" * 10_000)
            answers = await asyncio.gather(*(edge.post(acme.server_key, large) for _ in range(20)))
            assert {answer.status_code for answer in answers} == {503}
            kinds = [answer.json()["type"].rpartition(":")[2] for answer in answers]
            assert set(kinds) == {"busy", "log-unavailable"}
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
            kafka.resume()
            await until_metric(edge, "argus_ingest_bytes_in_flight", 0)


async def test_before_kafka_was_ever_there_nobody_is_told_401(broker: Kafka, run_edge: Run) -> None:
    acme = await new_tenant(broker)
    async with proxied(KAFKA_PORT, is_kafka=True) as kafka:
        await kafka.refuse()
        async with run_edge(KAFKA__BOOTSTRAP=f"{HOST}:{kafka.port}") as edge:
            await eventually(edge.ready, lambda state: state[0] == 503)
            answer = await eventually(
                lambda: edge.post("nonsense", EVENT), lambda answer: answer.status_code == 503
            )
            assert answer.json()["type"] == "urn:argus:problem:registry-incomplete"
            assert int(answer.headers["retry-after"]) >= 1
            await kafka.start()
            await edge.until_ready()
            assert (await edge.post("nonsense", EVENT)).status_code == 401
            assert (await edge.post(acme.server_key, EVENT)).status_code == 202


async def test_an_incomplete_registry_makes_nobody_unknown(broker: Kafka, run_edge: Run) -> None:
    acme = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme, marker=False)
    async with run_edge() as edge:
        await eventually(edge.ready, lambda state: state[0] == 503)
        answer = await edge.post("nonsense", EVENT)
        assert answer.status_code == 503
        assert (await edge.ready()) == (503, "the registry is not complete yet\n")


async def test_a_suspended_and_a_deleted_tenant_are_refused_within_two_seconds(
    broker: Kafka, run_edge: Run
) -> None:
    topic = await broker.create()
    acme, other = tenant(pipeline("main", topic)), tenant(pipeline("main", topic))
    await broker.publish(acme, other)
    async with run_edge() as edge:
        await edge.until_ready()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        await broker.publish(acme.changed(suspended=True, revision=2), other)

        async def status() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        await eventually(status, lambda found: found == 403, 2 + SLACK)
        await broker.publish(other, gone=[acme])
        await eventually(status, lambda found: found == 401, 2 + SLACK)
        name = acme.document.display
        assert not [key for key in await edge.metrics() if f'tenant="{name}"' in key]
        assert (await edge.post(other.server_key, EVENT)).status_code == 202
