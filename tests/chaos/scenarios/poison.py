"""Writes to a pipeline's topic as ingest would, and as ingest never would."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from argus_cli.settings import Settings
from argus_contract import headers, ids, splice
from argus_runtime import kafka

from tests.chaos.tenants import Tenant

HUGE = b'{"event":"signup","properties":{"huge":1e200000}}'
"""JSON that every decoder takes and PostgreSQL's numeric does not."""
GOOD = b'{"event":"signup","properties":{"plan":"free"}}'


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that waits for the broker's acknowledgement."""
    options = kafka.options(settings.require_kafka(), "argus-scenarios")
    producer = AIOKafkaProducer(**options, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def write(
    producer: AIOKafkaProducer, tenant: Tenant, body: bytes, partition: int = 0
) -> tuple[str, int]:
    """One event straight into the topic; its id, and the record's offset."""
    now = time.time_ns() // 1000
    event_id = ids.new_id(now)
    value = splice.envelope(event_id, now, now, body)
    sent = await producer.send_and_wait(
        tenant.topic, value, partition=partition, headers=[(headers.ID, event_id.encode())]
    )
    return event_id, sent.offset
