"""Reads Kafka for the ledger: log ends, and the letters of a dead-letter topic.

Joins no consumer group and commits nothing: looking changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from argus_contract import headers
from argus_contract.times import from_micros
from argus_runtime import kafka
from argus_runtime.settings import KafkaSettings

from argus_cli.audit import Letter
from argus_cli.errors import UnknownError, UnreachableError

_CLIENT: Final = "argus-cli"
_TIMEOUT_S: Final = 30.0
_POLL_MS: Final = 500
_RETENTION: Final = "retention.ms"


class Log:
    """A view of the broker; get one from `reading`."""

    def __init__(self, options: Mapping[str, Any], consumer: AIOKafkaConsumer) -> None:
        self._options = options
        self._consumer = consumer

    async def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset after the last record of each `(topic, partition)` that exists."""
        async with asyncio.timeout(_TIMEOUT_S):
            topics = await self._consumer.topics()
            wanted = [TopicPartition(*pair) for pair in partitions if pair[0] in topics]
            found = await self._consumer.end_offsets(wanted) if wanted else {}
        return {(where.topic, where.partition): offset for where, offset in found.items()}

    async def letters(self, topic: str) -> dict[str, Letter]:
        """All letters of a dead-letter topic by key; of copies, the last.

        Raises UnknownError where there is no such topic.
        """
        async with asyncio.timeout(_TIMEOUT_S):
            if topic not in await self._consumer.topics():
                raise UnknownError(f"Kafka has no topic {topic}")
            where = TopicPartition(topic, 0)
            self._consumer.assign([where])
            start = (await self._consumer.beginning_offsets([where]))[where]
            end = (await self._consumer.end_offsets([where]))[where]
            self._consumer.seek(where, start)
        read = [_letter(record) async for record in self._read(where, end)]
        return {letter.key: letter for letter in read}

    async def _read(self, where: TopicPartition, end: int) -> AsyncIterator[ConsumerRecord]:
        while await self._consumer.position(where) < end:
            async with asyncio.timeout(_TIMEOUT_S):
                fetched = await self._consumer.getmany(where, timeout_ms=_POLL_MS)
            for record in fetched.get(where, ()):
                if record.offset < end:
                    yield record

    async def retention(self, topic: str) -> timedelta | None:
        """How long the broker keeps the records of a topic, None for ever."""
        admin = AIOKafkaAdminClient(**self._options)
        async with asyncio.timeout(_TIMEOUT_S):
            await admin.start()
            try:
                wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {_RETENTION: None})
                [response] = await admin.describe_configs([wanted])
            finally:
                await admin.close()
        [(error, message, _, _, entries)] = response.resources
        if error:
            raise UnknownError(f"Kafka does not say the retention of {topic}: {message}")
        milliseconds = int({entry[0]: entry[1] for entry in entries}[_RETENTION])
        return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)


def _letter(record: ConsumerRecord) -> Letter:
    reason = headers.get(record.headers, headers.REASON) or b""
    return Letter(
        key=(record.key or b"").decode("utf-8", "replace"),
        reason=reason.decode("utf-8", "replace"),
        at=from_micros(record.timestamp * 1000),
        value=record.value or b"",
    )


@asynccontextmanager
async def reading(settings: KafkaSettings) -> AsyncIterator[Log]:
    """A connected view; raises UnreachableError where no broker answers."""
    options = kafka.options(settings, _CLIENT)
    consumer = AIOKafkaConsumer(
        **options, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
        yield Log(options, consumer)
    except (KafkaError, TimeoutError, OSError) as error:
        raise UnreachableError(f"Kafka at {settings.bootstrap}", error) from error
    finally:
        await consumer.stop()
