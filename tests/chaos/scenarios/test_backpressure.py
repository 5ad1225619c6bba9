"""Nobody reads, and a log fills: its pipeline is refused before Kafka deletes what is unread."""

import asyncio
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from argus_cli.settings import Settings
from argus_contract.ids import new_id
from argus_runtime import kafka

from tests.chaos import pods
from tests.chaos.load import Flow, Load
from tests.chaos.scenarios.conftest import MakeTenant, Say
from tests.chaos.scenarios.outage import away, eventually, under
from tests.chaos.scenarios.span import span
from tests.chaos.tenants import Tenant
from tests.chaos.traffic import Shape
from tests.chaos.verify import verify
from tests.e2e.tenants import page_view

RETENTION = "16Mi"
BULK = 8_192
RATE = 90.0
"""Events/s of each tenant: with BULK, the small log is full in some 15 s."""
REFUSED_S = 90.0
HELD_S = span(45.0, 150.0)
"""How long it is offered more than it may take; the broker looks at retention each 30 s."""

pytestmark = pytest.mark.timeout(600)


async def first_offset(tenant: Tenant, settings: Settings) -> int:
    """Where the log of the tenant's only partition begins: 0 until something has expired."""
    partition = TopicPartition(tenant.topic, 0)
    consumer = AIOKafkaConsumer(**kafka.options(settings.require_kafka(), "argus-scenarios"))
    await consumer.start()
    try:
        found = await consumer.beginning_offsets([partition])
    finally:
        await consumer.stop()
    return int(found[partition])


async def answer(flow: Flow) -> tuple[int, str, str]:
    """Status, problem type and Retry-After of one more event of the flow."""
    event_id = new_id(time.time_ns() // 1000)
    response = await asyncio.to_thread(flow.tenant.post, page_view(id=event_id))
    kind = response.json().get("type", "")
    if response.status_code == 202:
        flow.rows[uuid.UUID(event_id).bytes] = 1
        flow.acknowledged += 1
    return response.status_code, kind, response.headers.get("retry-after", "")


async def test_a_log_that_nobody_reads_is_refused_before_it_expires(
    make_tenant: MakeTenant, settings: Settings, seed: int, say: Say
) -> None:
    topic = {"partitions": 1, "retention": {"bytes": RETENTION}}
    small = Flow(
        await make_tenant(pipeline={"topic": topic}), RATE, Shape(malformed=0.0, bulk=BULK)
    )
    neighbour = Flow(await make_tenant(), RATE)
    load = Load([small, neighbour], seed)

    async def refused() -> tuple[int, str, str] | None:
        found = await answer(small)
        return None if found[0] == 202 else found

    loop = asyncio.get_running_loop()
    async with under(load, within=180):
        async with away("stream"):
            began = loop.time()
            status, kind, retry_after = await eventually(refused, REFUSED_S, "503")
            say(f"stream away: 503 after {loop.time() - began:.0f} s, Retry-After {retry_after}")
            await asyncio.sleep(HELD_S)
            begins = await first_offset(small.tenant, settings)
            held, beside = await answer(small), await answer(neighbour)
        await pods.all_ready()

    report = await verify(load, settings)
    say(
        f"after {HELD_S:.0f} s more the log still begins at {begins}; "
        f"{small.failures['503']} times 503, Retry-After {held[2]}"
    )
    for figure in report.figures:
        say(figure)
    assert (status, kind) == (503, "urn:argus:problem:backlog")
    assert int(retry_after) > 0
    assert begins == 0
    assert held[:2] == (status, kind)
    assert int(held[2]) >= int(retry_after), "nothing drains, so it takes longer and longer"
    assert beside[0] == 202
    assert neighbour.failures == {}
    assert report.problems == []
