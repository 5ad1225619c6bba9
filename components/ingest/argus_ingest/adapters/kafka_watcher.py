"""Looks at log ends, log sizes and the stream's commits: a handful of requests for all topics.

aiokafka's consumer and admin client fail as a whole when one topic is unknown, and neither tells
log sizes; so the requests are sent one by one here, and a topic that is gone hides no other.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String
from aiokafka.structs import TopicPartition
from argus_contract.names import STREAM_GROUP, TopicName

from argus_ingest.backlog import PartitionState, Question

logger = logging.getLogger(__name__)

_LATEST: Final = -1
_EARLIEST: Final = -2
_CONSUMER: Final = -1
_READ_UNCOMMITTED: Final = 0

Offsets = dict[TopicPartition, int]


class _DescribeLogDirsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    """Version 1 of API 35 (KIP-113); versions 0 and 1 differ in what brokers check only."""

    API_KEY = 35
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(
                                ("partition", Int32),
                                ("size", Int64),
                                ("offset_lag", Int64),
                                ("is_future", Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class _DescribeLogDirsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _DescribeLogDirsResponse
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class _DescribeLogDirs(Request[_DescribeLogDirsStruct]):  # type: ignore[misc]
    """How many bytes each log has on the asked broker."""

    API_KEY = 35

    def __init__(self, topics: list[tuple[str, list[int]]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_DescribeLogDirsStruct]) -> _DescribeLogDirsStruct:
        return request_struct_class(self._topics)


class KafkaWatcher:
    """A client of its own, so that a slow produce request delays no look."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are those of `argus_runtime.kafka.options`."""
        self._options = options
        self._client: AIOKafkaClient | None = None
        self._coordinator: int | None = None
        self._sizes_told = True

    async def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def look(
        self, questions: Mapping[TopicName, Question]
    ) -> dict[TopicName, list[PartitionState]]:
        """The state of every topic whose partitions could all be read."""
        try:
            client = await self._connected(questions)
            leaders = _by_leader(client, questions)
            if sum(map(len, leaders.values())) < sum(
                asked.partitions for asked in questions.values()
            ):
                # Just made, added or without a leader: the next look shall know.
                client.force_metadata_update()
            starts = await self._offsets(leaders, dict.fromkeys(questions, _EARLIEST))
            # Commits before ends: the backlog may be seen too large, never too small.
            committed = await self._committed()
            ends = await self._offsets(leaders, dict.fromkeys(questions, _LATEST))
            # Ends before ages: a record that comes in between would be unread and of no age.
            recent = await self._offsets(leaders, _boundaries(questions))
            sizes = await self._sizes(leaders)
        except KafkaError as error:
            self._coordinator = None
            raise OSError(repr(error)) from error
        return _assemble(questions, starts, ends, committed, recent, sizes)

    async def _connected(self, topics: Iterable[str]) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(**self._options)
            try:
                await client.bootstrap()
            except KafkaError:
                await client.close()
                raise
            self._client = client
        await self._client.set_topics(list(topics))
        return self._client

    async def _ask(self, node: int, request: Request[Any]) -> Any:
        assert self._client is not None  # noqa: S101  # `look` has connected
        return await self._client.send(node, request)

    async def _offsets(
        self, leaders: Mapping[int, list[TopicPartition]], boundaries: Mapping[TopicName, int]
    ) -> Offsets:
        """ListOffsets: the first offset at or after each topic's boundary."""
        found: Offsets = {}
        for node, partitions in leaders.items():
            asked = [
                (topic, [(number, boundaries[TopicName(topic)]) for number in numbers])
                for topic, numbers in _by_topic(partitions)
            ]
            answer = await self._ask(node, OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, asked))
            for topic, states in answer.topics:
                for number, error, _, offset in states:
                    if error:
                        self._note(topic, number, error)
                    else:
                        found[TopicPartition(topic, number)] = offset
        return found

    async def _committed(self) -> Offsets:
        """OffsetFetch: all that the stream's group ever committed."""
        assert self._client is not None  # noqa: S101  # `look` has connected
        if self._coordinator is None:
            self._coordinator = await self._client.coordinator_lookup(
                CoordinationType.GROUP, STREAM_GROUP
            )
        answer = await self._ask(self._coordinator, OffsetFetchRequest(STREAM_GROUP, None))
        if answer.error_code:
            raise for_code(answer.error_code)
        return {
            TopicPartition(topic, number): offset
            for topic, states in answer.topics
            for number, offset, _, error in states
            if not error and offset >= 0
        }

    async def _sizes(self, leaders: Mapping[int, list[TopicPartition]]) -> Offsets:
        """DescribeLogDirs; nothing, said once, where brokers do not implement it."""
        found: Offsets = {}
        for node, partitions in leaders.items() if self._sizes_told else ():
            try:
                answer = await self._ask(node, _DescribeLogDirs(_by_topic(partitions)))
            except (IncompatibleBrokerVersion, NotImplementedError) as error:
                self._sizes_told = False
                logger.warning("the brokers tell no log sizes: %r", error)
                break
            for _, _, topics in answer.log_dirs:
                for topic, states in topics:
                    for number, size, _, is_future in states:
                        if not is_future:
                            found[TopicPartition(topic, number)] = size
        return found

    def _note(self, topic: str, partition: int, code: int) -> None:
        error = for_code(code)
        logger.warning("no offsets of %s/%d: %s", topic, partition, error.__name__)
        if self._client is not None:
            self._client.force_metadata_update()


def _by_leader(
    client: AIOKafkaClient, questions: Mapping[TopicName, Question]
) -> dict[int, list[TopicPartition]]:
    leaders: defaultdict[int, list[TopicPartition]] = defaultdict(list)
    for topic, question in questions.items():
        for number in range(question.partitions):
            partition = TopicPartition(topic, number)
            leader = client.cluster.leader_for_partition(partition)
            if leader is not None and leader >= 0:
                leaders[leader].append(partition)
    return leaders


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for partition in partitions:
        topics[partition.topic].append(partition.partition)
    return list(topics.items())


def _boundaries(questions: Mapping[TopicName, Question]) -> dict[TopicName, int]:
    """Milliseconds since the epoch, as ListOffsets wants them."""
    now = time.time()
    return {topic: round((now - question.age) * 1000) for topic, question in questions.items()}


def _assemble(
    questions: Mapping[TopicName, Question],
    starts: Offsets,
    ends: Offsets,
    committed: Offsets,
    recent: Offsets,
    sizes: Offsets,
) -> dict[TopicName, list[PartitionState]]:
    seen: dict[TopicName, list[PartitionState]] = {}
    for topic, question in questions.items():
        partitions = [TopicPartition(topic, number) for number in range(question.partitions)]
        if all(part in starts and part in ends and part in recent for part in partitions):
            seen[topic] = [
                PartitionState(
                    starts[part],
                    ends[part],
                    committed.get(part),
                    recent[part] if recent[part] >= 0 else None,
                    sizes.get(part),
                )
                for part in partitions
            ]
    return seen
