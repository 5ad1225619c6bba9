"""Log ends and commits, on a connection of their own: a long fetch delays neither.

aiokafka's consumer commits only what it is assigned, and its questions about offsets fail whole
where one topic is missing. So the two requests are sent by its client (KIP-79 ListOffsets, and
OffsetCommit of a group without members: generation -1 and no member id).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.offset import OffsetRequest

from argus_stream.errors import BrokerError
from argus_stream.ports import Bounds, LogEnds
from argus_stream.sources import Source

_EARLIEST: Final = -2
_LATEST: Final = -1
_NO_REPLICA: Final = -1
_READ_UNCOMMITTED: Final = 0
_NO_LEADER: Final = -1

By = Mapping[Source, int]


class KafkaOffsets:
    """`argus_stream.ports.Offsets` on aiokafka's client."""

    def __init__(self, options: Mapping[str, Any], group: str, timeout: float) -> None:
        """`options` are those of `argus_runtime.kafka.options`; `timeout` bounds each call."""
        self._client = AIOKafkaClient(**options)
        self._group = group
        self._timeout = timeout
        self._coordinator: int | None = None
        self._topics: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Connects; raises BrokerError where no broker answers."""
        with _translated():
            await self._client.bootstrap()

    async def stop(self) -> None:
        """Disconnects."""
        await self._client.close()

    async def bounds(self, sources: Sequence[Source]) -> Mapping[Source, Bounds]:
        """Both ends of each log."""
        with _translated():
            async with asyncio.timeout(self._timeout):
                leaders, _ = await self._leaders(sources, refresh=True)
                starts = await self._list(leaders, _EARLIEST)
                ends = await self._list(leaders, _LATEST)
        return {
            source: Bounds(starts[source], ends[source]) for source in starts.keys() & ends.keys()
        }

    async def ends(self, sources: Sequence[Source]) -> LogEnds:
        """The high watermark of each log."""
        with _translated():
            async with asyncio.timeout(self._timeout):
                leaders, missing = await self._leaders(sources, refresh=False)
                if missing or len(leaders) < len(sources):
                    leaders, missing = await self._leaders(sources, refresh=True)
                return LogEnds(await self._list(leaders, _LATEST), missing)

    async def _leaders(
        self, sources: Sequence[Source], *, refresh: bool
    ) -> tuple[By, frozenset[Source]]:
        """The leader of each partition that has one, and the partitions that do not exist."""
        topics = frozenset(source.topic for source in sources)
        if refresh or not topics <= self._topics:
            self._topics |= topics
            await self._client.set_topics(self._topics)
            await self._client.force_metadata_update()
        cluster = self._client.cluster
        found = {
            source: cluster.leader_for_partition(TopicPartition(*source)) for source in sources
        }
        missing = frozenset(source for source, node in found.items() if node is None)
        self._topics -= {source.topic for source in missing}
        leaders = {s: node for s, node in found.items() if node is not None and node != _NO_LEADER}
        return leaders, missing

    async def _list(self, leaders: By, when: int) -> By:
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for source, node in leaders.items():
            by_node[node][source.topic].append((source.partition, when))
        found: dict[Source, int] = {}
        for node, topics in by_node.items():
            request = OffsetRequest(_NO_REPLICA, _READ_UNCOMMITTED, list(topics.items()))
            response = await self._client.send(node, request)
            for topic, partitions in response.topics:
                for partition, code, _, offset in partitions:
                    self._take(Source(topic, partition), code, offset, found)
        return found

    def _take(self, source: Source, code: int, offset: int, found: dict[Source, int]) -> None:
        error = for_code(code)
        if error is NoError:
            found[source] = offset
        elif error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
            self._topics = frozenset()
        else:
            raise error(f"{source.topic}/{source.partition}")

    async def commit(self, offsets: Mapping[Source, int]) -> None:
        """One request; on any failure the coordinator is looked up anew the next time."""
        topics: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for source, offset in offsets.items():
            topics[source.topic].append((source.partition, offset, ""))
        request = OffsetCommitRequest(
            self._group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            "",
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(topics.items()),
        )
        coordinator, self._coordinator = self._coordinator, None
        with _translated():
            async with asyncio.timeout(self._timeout):
                if coordinator is None:
                    coordinator = await self._client.coordinator_lookup(
                        CoordinationType.GROUP, self._group
                    )
                response = await self._client.send(
                    coordinator, request, group=ConnectionGroup.COORDINATION
                )
            for topic, partitions in response.topics:
                for partition, code in partitions:
                    error = for_code(code)
                    if error not in (NoError, UnknownTopicOrPartitionError):
                        raise error(f"{topic}/{partition}")
        self._coordinator = coordinator


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise BrokerError(repr(error)) from error
