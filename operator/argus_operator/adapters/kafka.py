"""Kafka's administration: topics listed, created, grown, configured and deleted.

aiokafka gives error codes inside responses and raises for few of them; here each becomes one of the
operator's errors, so that nothing is taken for done that was refused.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
    for_code,
)
from argus_contract.names import STREAM_GROUP, TopicName

from argus_operator import metrics
from argus_operator.errors import RefusedError, UnavailableError
from argus_operator.topics import Action, Backlog, Configure, Create, Grow, TopicState

logger = logging.getLogger(__name__)

_CONFIGS: Final = (
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "segment.bytes",
    "max.message.bytes",
    "min.insync.replicas",
    "message.timestamp.type",
    "segment.ms",
    "min.cleanable.dirty.ratio",
)
_SETTLED_POLL_S: Final = 0.05
_DENIED: Final = (
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    UnsupportedVersionError,
    IncompatibleBrokerVersion,
)
"""What a broker says, or a client finds, that does not let itself be administered."""
_NOT_TOLD: Final = {
    TopicAuthorizationFailedError.errno,
    ClusterAuthorizationFailedError.errno,
    UnsupportedVersionError.errno,
}
"""Codes of a topic whose configuration is not for the operator to see."""


class KafkaAdmin:
    """Topics; connects on first use and again after a failure."""

    def __init__(self, options: Mapping[str, Any], replicas: int, timeout: float) -> None:
        """`options` are those of `argus_runtime.kafka.options`; `timeout` in seconds for a call."""
        self._options = options
        self._replicas = replicas
        self._timeout = timeout
        self._client: AIOKafkaAdminClient | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Ends the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def matching(
        self, prefix: str, others: Collection[TopicName] = ()
    ) -> dict[TopicName, TopicState]:
        """All topics whose names begin with `prefix`, and those of `others` that can be seen."""
        async with self._call() as client:
            listed = await client.list_topics()
            found = [name for name in listed if name.startswith(prefix) or name in others]
            return await _describe(client, found)

    async def observe(self, topics: Iterable[TopicName]) -> dict[TopicName, TopicState]:
        """Those of `topics` that exist; raises RefusedError where one may not be seen."""
        async with self._call() as client:
            return await _describe(client, list(topics))

    async def backlog(self, topic: TopicName, partitions: int, retention_ms: int) -> Backlog:
        """What the stream has not committed of a topic; a partition without a commit is unread."""
        consumer = AIOKafkaConsumer(
            **self._options, group_id=STREAM_GROUP, enable_auto_commit=False
        )
        try:
            async with asyncio.timeout(self._timeout):
                await consumer.start()
                held = [TopicPartition(topic, number) for number in range(partitions)]
                return await _backlog(consumer, held, round(time.time() * 1000) - retention_ms)
        except (KafkaError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        finally:
            await consumer.stop()

    async def apply(self, actions: Sequence[Action]) -> None:
        """Does what was planned, in order; what is already so is fine.

        Raises RefusedError where Kafka does not let the operator do it.
        """
        if not actions:
            return
        async with self._call() as client:
            for action in actions:
                await self._apply(client, action)

    async def _apply(self, client: AIOKafkaAdminClient, action: Action) -> None:
        match action:
            case Create(spec):
                topic = NewTopic(
                    spec.name, spec.partitions, self._replicas, topic_configs=dict(spec.configs)
                )
                answer = await client.create_topics([topic])
                _check(answer.topic_errors, TopicAlreadyExistsError)
                was_there = any(code for _, code, *_ in answer.topic_errors)
                await _until_visible(client, spec.name, 1 if was_there else spec.partitions)
                logger.info("topic created", extra={"topic": spec.name, "there": was_there})
            case Grow(name, partitions):
                await client.create_partitions({name: NewPartitions(partitions)})
                await _until_visible(client, name, partitions)
                logger.info("topic grown", extra={"topic": name, "partitions": partitions})
            case Configure(name, configs):
                resource = ConfigResource(ConfigResourceType.TOPIC, name, dict(configs))
                for response in await client.alter_configs([resource]):
                    _check((name, code, text) for code, text, *_ in response.resources)
                await _until_told(client, resource, configs)
                logger.info("topic configured", extra={"topic": name, "configs": dict(configs)})

    async def delete(self, topics: Sequence[TopicName]) -> None:
        """Drops topics; one that is absent is fine."""
        async with self._call() as client:
            answer = await client.delete_topics(list(topics))
            _check(answer.topic_error_codes, UnknownTopicOrPartitionError)
            logger.info("topics deleted", extra={"topics": list(topics)})

    async def creates_by_itself(self) -> bool:
        """Whether brokers say that they make a topic as soon as somebody names it."""
        async with self._call() as client:
            brokers = (await client.describe_cluster())["brokers"]
            resource = ConfigResource(
                ConfigResourceType.BROKER,
                str(brokers[0]["node_id"]),
                {"auto.create.topics.enable": None},
            )
            responses = await _tell_configs(client, [resource])
            values = [entry[1] for r in responses for _, _, _, _, es in r.resources for entry in es]
            return "true" in values

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A connected client; whatever goes wrong with it raises UnavailableError.

        So does not what Kafka denies, which is a RefusedError.
        """
        try:
            async with asyncio.timeout(self._timeout):
                yield await self._connected()
        except _DENIED as error:
            raise _denied(error) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise _unavailable(error) from error

    async def _connected(self) -> AIOKafkaAdminClient:
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaAdminClient(**self._options)
                try:
                    await client.start()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client


def _denied(error: Exception) -> RefusedError:
    detail = f"{type(error).__name__} {error}".strip()
    return RefusedError(
        "KafkaForbidden",
        f"Kafka does not let the operator do this: {detail}. Grant its user what docs/install.md "
        "lists, or make a pipeline whose spec.topic.external names topics that exist",
    )


def _unavailable(error: Exception) -> UnavailableError:
    metrics.DEPENDENCY_ERRORS.labels("kafka").inc()
    detail = f"{type(error).__name__} {error}".strip()
    return UnavailableError("KafkaUnavailable", f"Kafka: {detail}")


async def _backlog(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], boundary_ms: int
) -> Backlog:
    consumer.assign(partitions)
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    young = await consumer.offsets_for_times(dict.fromkeys(partitions, boundary_ms))
    share, overdue = 0.0, False
    for partition in partitions:
        start, end = starts[partition], ends[partition]
        position = max(start, await consumer.committed(partition) or 0)
        first_young = end if young[partition] is None else young[partition].offset
        share = max(share, (end - position) / max(1, end - start))
        overdue = overdue or position < min(first_young, end)
    return Backlog(share, overdue)


async def _describe(
    client: AIOKafkaAdminClient, topics: Sequence[str]
) -> dict[TopicName, TopicState]:
    if not topics:
        return {}
    partitions = await _partitions(client, topics)
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_CONFIGS))
        for name in partitions
    ]
    if not resources:
        return {}
    found = {
        TopicName(name): TopicState(count, {}, readable=False) for name, count in partitions.items()
    }
    for response in await _tell_configs(client, resources):
        for code, message, _, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                found.pop(name, None)
            elif code not in _NOT_TOLD:
                _check([(name, code, message)])
                configs = {entry[0]: entry[1] for entry in entries}
                found[TopicName(name)] = TopicState(partitions[name], configs)
    return found


async def _tell_configs(
    client: AIOKafkaAdminClient, resources: Sequence[ConfigResource]
) -> Sequence[Any]:
    """The answers about configuration; none of a broker that does not speak of it."""
    try:
        answers: Sequence[Any] = await client.describe_configs(list(resources))
    except _DENIED:
        return ()
    return answers


async def _partitions(client: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Partitions by topic, of those that exist."""
    counts: dict[str, int] = {}
    for topic in await client.describe_topics(list(topics)):
        if topic["error_code"] == UnknownTopicOrPartitionError.errno:
            continue
        _check([(topic["topic"], topic["error_code"], None)])
        counts[topic["topic"]] = len(topic["partitions"])
    return counts


async def _until_visible(client: AIOKafkaAdminClient, name: str, partitions: int) -> None:
    """Waits until the brokers tell clients of the change; the caller bounds the time."""
    while True:
        for topic in await client.describe_topics([name]):
            leaders = [p for p in topic["partitions"] if p["leader"] >= 0]
            if topic["error_code"] == 0 and len(leaders) >= partitions:
                return
        await asyncio.sleep(_SETTLED_POLL_S)


async def _until_told(
    client: AIOKafkaAdminClient, resource: ConfigResource, configs: Mapping[str, str]
) -> None:
    """Waits until the brokers tell of a configuration; the caller bounds the time."""
    while True:
        for response in await client.describe_configs([resource]):
            for code, message, _, name, entries in response.resources:
                _check([(name, code, message)])
                if configs.items() <= {(entry[0], entry[1]) for entry in entries}:
                    return
        await asyncio.sleep(_SETTLED_POLL_S)


def _check(answers: Iterable[Sequence[Any]], fine: type[KafkaError] | None = None) -> None:
    """Raises the error of the first answer `(topic, code[, message])` that has one, but `fine`."""
    for topic, code, *rest in answers:
        error = for_code(code)
        if code and error is not fine:
            detail = next((text for text in rest if text), "")
            raise error(f"{topic}: {detail}")
