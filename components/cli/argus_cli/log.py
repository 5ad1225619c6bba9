"""Reads Kafka: log ends, and the letters of a dead-letter topic.

Joins no consumer group and commits nothing: looking changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError
from argus_contract import headers
from argus_contract.times import to_micros
from argus_runtime import kafka
from argus_runtime.settings import KafkaSettings

from argus_cli import broker
from argus_cli.audit import Written
from argus_cli.errors import UnknownError
from argus_cli.latest import Latest
from argus_cli.letters import Key, Letter, written

_CLIENT: Final = "argus-cli"
_TIMEOUT_S: Final = 30.0
_POLL_MS: Final = 500
_RETENTION: Final = "retention.ms"


class Log:
    """A view of the broker; get one from `reading`.

    All that asks the broker raises UnreachableError where it does not answer.
    """

    def __init__(
        self, options: Mapping[str, Any], consumer: AIOKafkaConsumer, bootstrap: str
    ) -> None:
        self._options = options
        self._consumer = consumer
        self._bootstrap = bootstrap

    async def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset after the last record of each `(topic, partition)` that exists."""
        async with self._asking():
            topics = await self._consumer.topics()
            wanted = [TopicPartition(*pair) for pair in partitions if pair[0] in topics]
            found = await self._consumer.end_offsets(wanted) if wanted else {}
        return {(where.topic, where.partition): offset for where, offset in found.items()}

    async def letters(
        self, topic: str, since: datetime | None = None, until: int | None = None
    ) -> AsyncIterator[Letter]:
        """The letters of a dead-letter topic in its order, every copy among them.

        From those written at `since` on, up to the offset `until`, else to the end as it is now;
        what is no letter is left out. Raises UnknownError where there is no such topic.
        """
        async for record in self._records(topic, since, until):
            letter = _letter(record)
            if letter is not None:
                yield letter

    async def written(self, topic: str) -> dict[str, Written]:
        """Every record of a dead-letter topic, by its key; of those of one key, the last.

        Raises UnknownError where there is no such topic.
        """
        return {
            (record.key or b"").decode("utf-8", "replace"): _written(record)
            async for record in self._records(topic, None, None)
        }

    async def latest(
        self, topic: str, since: datetime | None = None
    ) -> tuple[AsyncIterator[Letter], int]:
        """Each event's latest letter, once and in the order of the topic, and how many there are.

        Reads the topic twice, and keeps none of it. With `since`, of the letters from there on.
        """
        known, end = Latest(), 0
        async for letter in self.letters(topic, since):
            known.add(letter.root, letter.attempt, letter.place)
            end = letter.place + 1

        async def standing() -> AsyncIterator[Letter]:
            async for letter in self.letters(topic, since, end):
                if known.stands(letter.root, letter.place):
                    yield letter

        return standing(), len(known)

    async def _records(
        self, topic: str, since: datetime | None, until: int | None
    ) -> AsyncIterator[ConsumerRecord]:
        where = TopicPartition(topic, 0)
        start, end = await self._bounds(where, since)
        end = end if until is None else until
        self._consumer.assign([where])
        self._consumer.seek(where, start)
        async for record in self._read(where, end):
            yield record

    async def _bounds(self, where: TopicPartition, since: datetime | None) -> tuple[int, int]:
        """Offsets of the first record to read and after the last."""
        async with self._asking():
            if where.topic not in await self._consumer.topics():
                raise UnknownError(f"Kafka has no topic {where.topic}")
            end = (await self._consumer.end_offsets([where]))[where]
            if since is None:
                return (await self._consumer.beginning_offsets([where]))[where], end
            asked = {where: to_micros(since) // 1000}
            found = (await self._consumer.offsets_for_times(asked))[where]
        return end if found is None else found.offset, end

    async def _read(self, where: TopicPartition, end: int) -> AsyncIterator[ConsumerRecord]:
        async with self._asking():
            position = await self._consumer.position(where)
        while position < end:
            async with self._asking():
                fetched = await self._fetch(where)
            for record in fetched:
                if record.offset < end:
                    yield record
            async with self._asking():
                position = await self._consumer.position(where)

    async def _fetch(self, where: TopicPartition) -> list[ConsumerRecord]:
        """What comes next; aiokafka waits in silence while a broker is away."""
        position = await self._consumer.position(where)
        while await self._consumer.position(where) == position:
            fetched = await self._consumer.getmany(where, timeout_ms=_POLL_MS)
            if where in fetched:
                return list(fetched[where])
        return []

    async def retention(self, topic: str, otherwise: timedelta | None = None) -> timedelta | None:
        """How long the broker keeps the records of a topic, None for ever.

        `otherwise` where that is not for us to know. Raises UnknownError without such a topic.
        """
        admin = AIOKafkaAdminClient(**self._options)
        async with self._asking():
            await admin.start()
            try:
                wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {_RETENTION: None})
                [response] = await admin.describe_configs([wanted])
            finally:
                await admin.close()
        [(error, message, _, _, entries)] = response.resources
        if error == TopicAuthorizationFailedError.errno:
            return otherwise
        if error:
            raise UnknownError(f"Kafka does not say the retention of {topic}: {message}")
        milliseconds = int({entry[0]: entry[1] for entry in entries}[_RETENTION])
        return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Around calls to the broker alone: they have a time, and fail as `broker.asking` says."""
        with broker.asking(self._bootstrap):
            async with asyncio.timeout(_TIMEOUT_S):
                yield


def _letter(record: ConsumerRecord) -> Letter | None:
    key = Key.parse((record.key or b"").decode("utf-8", "replace"))
    if key is None:
        return None
    return Letter(
        key=key,
        place=record.offset,
        at=written(record.timestamp),
        fields=dict(reversed(record.headers)),
        value=record.value or b"",
    )


def _written(record: ConsumerRecord) -> Written:
    replayed = headers.get(record.headers, headers.ROOT) is not None
    given = None if replayed else headers.get(record.headers, headers.ID)
    try:
        identity = None if given is None else UUID(given.decode())
    except ValueError:  # a stranger's
        identity = None
    return Written(written(record.timestamp), identity)


@asynccontextmanager
async def reading(settings: KafkaSettings) -> AsyncIterator[Log]:
    """A connected view; raises UnreachableError where no broker answers."""
    options = kafka.options(settings, _CLIENT)
    consumer = AIOKafkaConsumer(
        **options, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        with broker.asking(settings.bootstrap):
            async with asyncio.timeout(_TIMEOUT_S):
                await consumer.start()
        yield Log(options, consumer, settings.bootstrap)
    finally:
        await broker.stop(consumer)
