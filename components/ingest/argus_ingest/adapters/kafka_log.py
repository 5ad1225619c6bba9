"""The log that events are appended to: an aiokafka producer fed with whole batches.

acks=all and not idempotent: aiokafka's idempotent batches never expire and can jam a partition,
and a copy that a retry leaves behind has the same id and time, so it is stored once all the same.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from argus_contract.records import Record
from argus_contract.sizes import MAX_EVENT, RECORD_OVERHEAD

from argus_ingest.publish import Batch, LogError

logger = logging.getLogger(__name__)

MAX_BATCH: Final = MAX_EVENT + RECORD_OVERHEAD
"""Most bytes of one batch: the max.message.bytes that the operator gives topics."""
_REMEMBERED: Final = 65_536
_RETRY: Final = 1.0
_START_TIMEOUT: Final = 15.0


@lru_cache(_REMEMBERED)
def _hash(key: bytes) -> int:
    """Kafka's hash of a key. Some microseconds each, and visitors come back."""
    hashed: int = murmur2(key) & 0x7FFFFFFF
    return hashed


class KafkaBatch:
    """Records for one partition in Kafka's own format."""

    __slots__ = ("builder",)

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder

    def extend(self, records: Sequence[Record]) -> int:
        """Appends records as long as they fit, and says how many did.

        Past aiokafka's `append`, whose checks of each record cost as much as encoding it.
        """
        builder = self.builder
        first: int = builder._relative_offset
        offset = first
        append = builder._builder.append
        for record in records:
            if append(offset, None, record.key, record.value, record.headers) is None:
                break
            offset += 1
        builder._relative_offset = offset
        return offset - first


class KafkaLog:
    """Appends batches to Kafka once a broker has been reached."""

    def __init__(
        self, options: Mapping[str, Any], *, delivery_timeout: float, compression: str | None
    ) -> None:
        """`options` are those of `argus_runtime.kafka.options`; `delivery_timeout` in seconds."""
        self._options = {
            **options,
            "acks": "all",
            "enable_idempotence": False,
            "compression_type": compression,
            "max_batch_size": MAX_BATCH,
            "linger_ms": 0,
            # aiokafka lets a batch expire after this time; nobody waits for it any longer.
            "request_timeout_ms": round(delivery_timeout * 1000),
        }
        self._producer: AIOKafkaProducer | None = None

    @property
    def connected_once(self) -> bool:
        """Whether a broker has been reached since the start."""
        return self._producer is not None

    async def run(self) -> None:
        """Connects, however long that takes; then aiokafka keeps the connection. A supervised
        task."""
        while self._producer is None:
            producer = AIOKafkaProducer(**self._options)
            try:
                async with asyncio.timeout(_START_TIMEOUT):
                    await producer.start()
                self._producer = producer
            except (KafkaError, OSError, TimeoutError) as error:
                logger.warning("no broker yet: %r", error)
                await asyncio.sleep(_RETRY)
            finally:
                if self._producer is None:
                    await producer.stop()

    async def close(self) -> None:
        """Sends what is left and disconnects."""
        if self._producer is not None:
            await self._producer.stop()

    def batch(self) -> KafkaBatch:
        """An empty batch."""
        return KafkaBatch(self._connected().create_batch())

    def partition(self, key: bytes, partitions: int) -> int:
        """As Kafka's default partitioner says, so that any producer agrees with us."""
        return _hash(key) % partitions

    async def send(self, batch: Batch, topic: str, partition: int) -> None:
        """Returns when all in-sync replicas have the batch; raises LogError."""
        producer = self._connected()
        builder = cast(KafkaBatch, batch).builder
        builder.close()
        try:
            if partition not in await producer.partitions_for(topic):
                await producer.client.force_metadata_update()
                raise LogError(f"the brokers do not know partition {partition} of {topic} yet")
            await (await producer.send_batch(builder, topic, partition=partition))
        except KafkaError as error:
            raise LogError(repr(error)) from error

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("no broker has been reached yet")
        return self._producer
