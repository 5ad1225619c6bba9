"""The consumer: reads partitions that we assign by hand, from offsets that SQL gave.

No group, no committed position, no reset: where a position cannot be read, it says so and stands
still. Reads uncommitted, because a stranger's open transaction must not stop a partition; a record
of ours is never in one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from argus_contract import sizes

from argus_stream.errors import BrokerError, LogError, StreamError, UnreadableError
from argus_stream.ports import Shares
from argus_stream.sources import Record, Source

MAX_WAIT_MS: Final = 100
"""How long a broker holds a fetch for more; a change of assignment waits for it."""
PARTITION_BYTES: Final = sizes.MAX_EVENT + sizes.RECORD_OVERHEAD
MIN_BYTES: Final = 256 * sizes.KIB
"""Less than this is waited for, up to MAX_WAIT_MS: a fetch for each batch that the edge appends
costs the broker and us several times what its records do."""
FETCH_BYTES: Final = 2 * sizes.MIB
"""Little at a time: what is buffered of a backlog is what a quiet partition's fetch waits for."""


class KafkaLog:
    """`argus_stream.ports.Log` on aiokafka."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are those of `argus_runtime.kafka.options`."""
        self._failure: StreamError | None = None
        self._consumer = AIOKafkaConsumer(
            **options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=MAX_WAIT_MS,
            fetch_min_bytes=MIN_BYTES,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_BYTES,
        )

    async def start(self) -> None:
        """Connects; raises BrokerError where no broker answers."""
        try:
            await self._consumer.start()
        except KafkaError as error:
            raise BrokerError(repr(error)) from error

    async def stop(self) -> None:
        """Disconnects.

        aiokafka cancels its fetches there and awaits them: one that rests after a broker's failure
        ends in a CancelledError that is nobody's, and leaves the connections open.
        """
        try:
            await self._consumer.stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            await self._consumer._client.close()

    def assign(self, positions: Mapping[Source, int | None]) -> None:
        """Every partition gets a position at once, so that aiokafka never looks for one."""
        if not positions:
            self._consumer.unsubscribe()
            return
        self._consumer.assign([TopicPartition(*source) for source in positions])
        for source, offset in positions.items():
            self._consumer.seek(TopicPartition(*source), offset or 0)
            if offset is None:
                self.pause(source)

    def seek(self, source: Source, offset: int) -> None:
        """Positions first, then resumes: nothing is fetched from the old position."""
        self._consumer.seek(TopicPartition(*source), offset)
        self._consumer.resume(TopicPartition(*source))

    def pause(self, source: Source) -> None:
        """Drops what is buffered, too."""
        self._consumer.pause(TopicPartition(*source))

    async def fetch(self, shares: Shares, timeout: float) -> Mapping[Source, Sequence[Record]]:
        """Only if something is assigned; else aiokafka waits without end.

        aiokafka hands out all that it fetched of one partition before it goes on to the next, so
        each topic of which something was fetched is asked for its share. An error that comes after
        records of other topics is kept for the next call.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        fetched: dict[Source, Sequence[Record]] = {}
        ready = self._ready()
        if not ready:
            fetched = await self._fetch(1, timeout)
            ready = self._ready()
        taken = {source.topic: len(records) for source, records in fetched.items()}
        for topic, most in shares(ready).items():
            share = most - taken.get(topic, 0)
            try:
                if share > 0:
                    for source, records in (await self._fetch(share, 0, *ready[topic])).items():
                        fetched[source] = [*fetched.get(source, ()), *records]
            except StreamError as error:
                if not fetched:
                    raise
                self._failure = error
                break
        return fetched

    def _ready(self) -> dict[str, list[TopicPartition]]:
        """Partitions of which something was fetched, by topic."""
        ready: dict[str, list[TopicPartition]] = defaultdict(list)
        for partition in self._consumer._fetcher._records:
            ready[partition.topic].append(partition)
        return ready

    async def _fetch(
        self, limit: int, timeout: float, *partitions: TopicPartition
    ) -> dict[Source, Sequence[Record]]:
        try:
            fetched = await self._consumer.getmany(
                *partitions, timeout_ms=int(timeout * 1000), max_records=limit
            )
        except (OffsetOutOfRangeError, RecordTooLargeError, TopicAuthorizationFailedError) as error:
            raise LogError(self._concerned(error), repr(error)) from error
        except (CorruptRecordException, UnicodeDecodeError) as error:
            raise UnreadableError(self._unreadable(), repr(error)) from error
        except KafkaError as error:
            raise BrokerError(repr(error)) from error
        return cast("dict[Source, Sequence[Record]]", fetched)

    def _concerned(self, error: KafkaError) -> frozenset[Source]:
        """The partitions or the topic that an error names; all partitions where it names none."""
        assigned = frozenset(Source(*partition) for partition in self._consumer.assignment())
        named: set[object] = set()
        for argument in error.args:
            named |= set(argument) if isinstance(argument, dict) else {argument}
        concerned = {each for each in assigned if each in named or each.topic in named}
        return frozenset(concerned) or assigned

    def _unreadable(self) -> frozenset[Source]:
        """Where aiokafka broke off: a bad checksum, or a header's name that is not UTF-8.

        It still holds what it fetched there, with an iterator that has ended; it tells no better.
        """
        fetched = self._consumer._fetcher._records
        broken = frozenset(
            Source(*partition)
            for partition, result in fetched.items()
            if isinstance(result, FetchResult)
            and result.has_more()
            and result._partition_records._records_iterator.gi_frame is None
        )
        return broken or frozenset(Source(*each) for each in self._consumer.assignment())

    async def position(self, source: Source) -> int:
        """Does not wait: each assigned partition has a position."""
        return cast("int", await self._consumer.position(TopicPartition(*source)))
