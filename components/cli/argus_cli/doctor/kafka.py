"""Asks Kafka whether it answers, and the topics: the registry's, and two for each pipeline."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest
from argus_contract.registry import TenantDocument
from argus_runtime import kafka
from argus_runtime.registry import Replica
from argus_runtime.settings import KafkaSettings

from argus_cli.broker import stop
from argus_cli.doctor.findings import Finding, notable, told, unasked, unreached, well, wrong
from argus_cli.errors import MissingSettingError
from argus_cli.render import counted, span
from argus_cli.settings import Settings

SUBJECT: Final = "Kafka"
REGISTRY: Final = "registry"
TOPICS: Final = "topics"
FRESH_S: Final = 300.0
"""The operator confirms the registry every 30 seconds."""
_RUNNING: Final = "Is the broker running? With the built-in engines: `kubectl -n argus get pods`."
_CLIENT: Final = "argus-doctor"
_POLL_MS: Final = 200
_CONNECTION: Final = ("client_id", "security_protocol", "ssl_context")


async def examine(settings: Settings, limit: float) -> AsyncIterator[Finding]:
    """Each broker by its own address, then what the topics hold."""
    try:
        found = settings.require_kafka()
    except MissingSettingError:
        yield unasked(SUBJECT, "ARGUS_KAFKA is not set")
        return
    answered = False
    async for finding, reached in _brokers(found, limit):
        answered = answered or reached
        yield finding
    if not answered:
        yield unasked(REGISTRY, "Kafka does not answer")
        yield unasked(TOPICS, "Kafka does not answer")
        return
    async for finding in _topics(found, settings.registry_topic, limit):
        yield finding


async def _brokers(settings: KafkaSettings, limit: float) -> AsyncIterator[tuple[Finding, bool]]:
    """A finding for each address that does not answer, one for all that do; whether some do."""
    known: dict[str, str] = {}
    for address in settings.bootstrap.split(","):
        try:
            brokers = await _ask(address.strip(), settings, limit)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            yield _unreached(address.strip(), settings, error), False
        else:
            known |= dict.fromkeys(brokers, address.strip())
    reached = []
    for broker, named_by in known.items():
        try:
            await _ask(broker, settings, limit)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            yield _elsewhere(broker, named_by, error), False
        else:
            reached.append(broker)
    if reached:
        yield well(SUBJECT, f"{', '.join(sorted(reached))} answers"), True


async def _ask(address: str, settings: KafkaSettings, limit: float) -> list[str]:
    """The addresses that the brokers go by; raises where this one does not answer."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError(f"{address!r} is not host:port")
    options = kafka.options(settings, _CLIENT)
    own = {
        name: value
        for name, value in options.items()
        if name in _CONNECTION or name.startswith("sasl_")
    }
    async with asyncio.timeout(limit):
        connection: AIOKafkaConnection = await create_conn(
            host.strip("[]"), int(port), request_timeout_ms=round(limit * 1000), **own
        )
        try:
            metadata = await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    return [f"{broker[1]}:{broker[2]}" for broker in metadata.brokers]


def _unreached(address: str, settings: KafkaSettings, error: Exception) -> Finding:
    match error:
        case SaslAuthenticationFailed():
            return wrong(
                SUBJECT,
                f"{address} refuses the user name or the password",
                "Compare ARGUS_KAFKA_USERNAME and ARGUS_KAFKA_PASSWORD with the broker's.",
            )
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return wrong(
                SUBJECT,
                f"{address} does not take the mechanism {settings.mechanism}",
                "Does it want a user at all there? If so, set ARGUS_KAFKA_MECHANISM; if not, unset"
                " ARGUS_KAFKA_USERNAME.",
            )
        case KafkaError():
            return wrong(
                SUBJECT,
                f"{address} ends the connection: {told(error)}",
                f"Is it a Kafka broker, and does it speak {settings.security} there?"
                " ARGUS_KAFKA_SECURITY and ARGUS_KAFKA_USERNAME decide that.",
            )
        case ValueError() if not isinstance(error, ssl.SSLError):
            return wrong(
                SUBJECT, str(error), "Set ARGUS_KAFKA to host:port, or several with commas."
            )
        case _:
            return unreached(SUBJECT, address, error, _RUNNING)


def _elsewhere(broker: str, named_by: str, error: Exception) -> Finding:
    return wrong(
        SUBJECT,
        f"{named_by} answers, but calls a broker {broker}, which does not: {told(error)}",
        "Clients use the address that a broker advertises: does it exist from here, and does that"
        " broker run?",
    )


async def _topics(
    settings: KafkaSettings, registry_topic: str, limit: float
) -> AsyncIterator[Finding]:
    consumer = AIOKafkaConsumer(
        **kafka.options(settings, _CLIENT),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    try:
        async with asyncio.timeout(limit):
            present = await _present(settings)
            await consumer.start()
        if registry_topic not in present:
            yield wrong(
                REGISTRY,
                f"Kafka has no topic {registry_topic}",
                "The operator makes it: `kubectl -n argus logs deployment/argus-operator`.",
            )
            yield unasked(TOPICS, "the registry names them")
            return
        async with asyncio.timeout(limit):
            replica = await _registry(consumer, registry_topic)
    except (KafkaError, OSError, TimeoutError) as error:
        yield wrong(SUBJECT, f"topics cannot be read: {told(error)}", _RUNNING)
        return
    finally:
        await stop(consumer)
    yield judged(replica, time.time())
    yield missing(replica.documents.values(), present)


async def _present(settings: KafkaSettings) -> dict[str, int]:
    """Every topic's partitions."""
    admin = AIOKafkaAdminClient(**kafka.options(settings, _CLIENT))
    await admin.start()
    try:
        described = await admin.describe_topics()
    finally:
        await admin.close()
    return {one["topic"]: len(one["partitions"]) for one in described}


async def _registry(consumer: AIOKafkaConsumer, topic: str) -> Replica:
    """The registry as the topic has it now, whole or not."""
    where = TopicPartition(topic, 0)
    consumer.assign([where])
    end = (await consumer.end_offsets([where]))[where]
    await consumer.seek_to_beginning(where)
    replica = Replica()
    while await consumer.position(where) < end:
        fetched: Mapping[Any, Any] = await consumer.getmany(where, timeout_ms=_POLL_MS)
        for record in fetched.get(where, ()):
            replica.apply(record.key, record.value)
    return replica


def judged(replica: Replica, now: float) -> Finding:
    """Whether the registry is whole, and was confirmed lately; `now` in seconds since the epoch."""
    advice = "Is the operator running? `kubectl -n argus logs deployment/argus-operator` says more."
    if replica.marker is None or not replica.complete:
        return wrong(REGISTRY, "it is not complete", advice)
    tenants = counted(len(replica.documents), "tenant")
    age = now - replica.marker.revision / 1000
    if age > FRESH_S:
        return wrong(REGISTRY, f"{tenants}, last confirmed {span(age)} ago", advice)
    if not replica.documents:
        return notable(REGISTRY, "it knows no tenant yet", "Apply an ArgusTenant.")
    return well(REGISTRY, f"{tenants}, complete, confirmed {span(age)} ago")


def missing(documents: Iterable[TenantDocument], present: Mapping[str, int]) -> Finding:
    """Whether each pipeline has its topics; `present` gives partitions by topic."""
    wanted = [
        (topic, partitions)
        for document in documents
        for pipeline in document.pipelines
        for topic, partitions in (
            (pipeline.topic, pipeline.partitions),
            (pipeline.dead_letter_topic, 1),
        )
    ]
    short = [
        f"{topic} has {present.get(topic, 0)} of {partitions} partitions"
        for topic, partitions in wanted
        if present.get(topic, 0) < partitions
    ]
    if short:
        return wrong(
            TOPICS,
            "; ".join(short),
            "The operator makes what is missing; `kubectl describe argus -A` says what hinders it.",
        )
    return well(TOPICS, f"all {len(wanted)} are there")
