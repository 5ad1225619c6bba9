"""Publishes replayed records, acknowledged by all in-sync replicas.

Not idempotent, for the reasons that ingest has: a copy that a retry leaves behind has the same id
and time, and is only a `duplicate`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from argus_contract.records import Record
from argus_contract.sizes import MAX_EVENT, RECORD_OVERHEAD
from argus_runtime import kafka
from argus_runtime.settings import KafkaSettings

from argus_cli import broker

_CLIENT: Final = "argus-cli"
_MAX_BATCH: Final = MAX_EVENT + RECORD_OVERHEAD
"""The max.message.bytes that the operator gives topics."""
_TIMEOUT_S: Final = 30.0


class Publisher:
    """A producer for any topic; get one from `publishing`."""

    def __init__(self, producer: AIOKafkaProducer, bootstrap: str) -> None:
        self._producer = producer
        self._bootstrap = bootstrap

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Returns when Kafka has all of them; after an error some of them may be in the log.

        Raises UnreachableError.
        """
        with broker.asking(self._bootstrap):
            async with asyncio.timeout(_TIMEOUT_S):
                sent = [
                    await self._producer.send(topic, one.value, key=one.key, headers=one.headers)
                    for one in records
                ]
                await asyncio.gather(*sent)


@asynccontextmanager
async def publishing(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    """A connected publisher; raises UnreachableError where no broker answers."""
    producer = AIOKafkaProducer(
        **kafka.options(settings, _CLIENT),
        acks="all",
        enable_idempotence=False,
        max_batch_size=_MAX_BATCH,
        compression_type=None,
    )
    try:
        with broker.asking(settings.bootstrap):
            async with asyncio.timeout(_TIMEOUT_S):
                await producer.start()
        yield Publisher(producer, settings.bootstrap)
    finally:
        await producer.stop()
