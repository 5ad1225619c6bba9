"""A really running ingest process, with topics and a registry of the test's own."""

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from argus_contract import names, registry
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.names import TopicName
from argus_contract.registry import Bucket, Key, Limits, Marker, Pipeline, TenantDocument
from argus_ingest.adapters.redis_buckets import RedisBuckets
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import RedisSettings
from redis.asyncio import Redis

from tests.integration.conftest import PASSWORD, REDIS_PORT

T = TypeVar("T")

HOST = "127.0.0.1"
PLENTY = Bucket(1e6, 1e6)
START_TIMEOUT = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Tenant:
    """A tenant with its keys in clear."""

    document: TenantDocument
    server_key: str
    public_key: str

    @property
    def topic(self) -> TopicName:
        """The topic of the first pipeline."""
        return self.document.pipelines[0].topic

    def changed(self, **changes: Any) -> "Tenant":
        """The same tenant with another document."""
        return replace(self, document=msgspec.structs.replace(self.document, **changes))


def pipeline(name: str, topic: str, **changes: Any) -> Pipeline:
    """A pipeline with long retention."""
    values: dict[str, Any] = {
        "uid": secrets.token_hex(4),
        "name": name,
        "topic": TopicName(topic),
        "dead_letter_topic": TopicName(f"{topic}.dead"),
        "partitions": 1,
        "schema": "t",
        "table": "events",
        "window": 30 * 86400,
        "dedupe_window": 86400,
        "retention_bytes": 1 << 30,
        "retention_seconds": 7 * 86400,
    }
    return Pipeline(**values | changes)


def tenant(
    *pipelines: Pipeline,
    per_key: Bucket = PLENTY,
    per_ip: Bucket = PLENTY,
    revision: int = 1,
    expires: int | None = None,
    **changes: Any,
) -> Tenant:
    """A tenant of these pipelines with one key of each kind."""
    server, public = generate(KeyKind.SERVER), generate(KeyKind.PUBLIC)
    uid = secrets.token_hex(4)
    document = TenantDocument(
        id=names.tenant_id("it", "acme", uid),
        namespace="it",
        name=f"acme-{uid}",
        revision=revision,
        limits=Limits(per_key=per_key, per_ip=per_ip),
        keys=(
            Key(hash_key(server), "server", KeyKind.SERVER, expires),
            Key(hash_key(public), "public", KeyKind.PUBLIC, expires),
        ),
        pipelines=pipelines,
        **changes,
    )
    return Tenant(document, server, public)


@dataclass(frozen=True)
class Kafka:
    """Topics, registry and records on a real broker."""

    bootstrap: str
    registry_topic: str
    admin: AIOKafkaAdminClient
    producer: AIOKafkaProducer
    topics: list[str]

    async def create(self, partitions: int = 1, **config: str) -> TopicName:
        """A new topic of a random name."""
        topic = f"it.{secrets.token_hex(6)}"
        await self.admin.create_topics(
            [
                NewTopic(
                    topic, partitions, 1, topic_configs={"max.message.bytes": "278528", **config}
                )
            ]
        )
        self.topics.append(topic)
        return TopicName(topic)

    async def publish(
        self, *tenants: Tenant, gone: Iterable[Tenant] = (), marker: bool = True
    ) -> None:
        """Registry documents, tombstones and a marker that counts them."""
        for left in gone:
            await self._send(left.document.id, None)
        for published in tenants:
            await self._send(published.document.id, registry.encode(published.document))
        if marker:
            counted = Marker(time.time_ns() // 1_000_000, len(tenants))
            await self._send(registry.MARKER_KEY, registry.encode(counted))

    async def _send(self, key: str, value: bytes | None) -> None:
        await self.producer.send_and_wait(self.registry_topic, value, key=key.encode())

    async def records(self, topic: str, partitions: int = 1) -> list[Any]:
        """Everything in a topic, partition by partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            parts = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(parts)
            ends = await consumer.end_offsets(parts)
            found: list[Any] = []
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for got in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(got)
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()


@asynccontextmanager
async def open_broker(bootstrap: str) -> AsyncIterator[Kafka]:
    """The broker with a registry topic of this test's own; all topics it makes are removed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await admin.start()
    await producer.start()
    registry_topic = f"it.registry.{secrets.token_hex(6)}"
    opened = Kafka(bootstrap, registry_topic, admin, producer, [registry_topic])
    try:
        compacted = {"cleanup.policy": "compact"}
        await admin.create_topics([NewTopic(registry_topic, 1, 1, topic_configs=compacted)])
        yield opened
    finally:
        await admin.delete_topics(opened.topics)
        await producer.stop()
        await admin.close()


@pytest.fixture
async def broker(kafka: str) -> AsyncIterator[Kafka]:
    """`open_broker` for one test."""
    async with open_broker(kafka) as opened:
        yield opened


class Edge:
    """A running ingest process."""

    def __init__(self, process: asyncio.subprocess.Process, http_port: int, ops_port: int) -> None:
        self.process = process
        self.port = http_port
        self.url = f"http://{HOST}:{http_port}"
        self.ops = f"http://{HOST}:{ops_port}"
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30)

    async def post(self, key: str | None, content: bytes, **headers: str) -> httpx.Response:
        """POST /v1/events; header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["authorization"] = f"Bearer {key}"
        named.setdefault("content-type", "application/json")
        return await self.client.post("/v1/events", content=content, headers=named)

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{self.ops}/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def ready(self) -> tuple[int, str]:
        """Status and reason of /readyz; 0 while nobody listens."""
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(f"{self.ops}/readyz")
            except httpx.TransportError as error:
                return 0, repr(error)
        return answer.status_code, answer.text

    async def until_ready(self) -> None:
        """Waits for /readyz."""
        await eventually(self.ready, lambda state: state[0] == 200)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.client.aclose()
        return await asyncio.wait_for(self.process.wait(), 30)


async def eventually(
    probe: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout: float = START_TIMEOUT
) -> T:
    """Probes until it holds; fails with the last value."""
    deadline = time.monotonic() + timeout
    while True:
        value = await probe()
        if holds(value):
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"still {value!r} after {timeout} s")
        await asyncio.sleep(0.05)


Run = Callable[..., AbstractAsyncContextManager[Edge]]


def environment(
    broker: Kafka, http_port: int, ops_port: int, changes: dict[str, str]
) -> dict[str, str]:
    """The settings of a process under test; `changes` are upper-case names without ARGUS_."""
    settings = {
        "KAFKA__BOOTSTRAP": broker.bootstrap,
        "REDIS__URL": f"redis://{HOST}:{REDIS_PORT}/0",
        "REDIS__PASSWORD": PASSWORD,
        "HTTP__HOST": HOST,
        "HTTP__PORT": str(http_port),
        "HTTP__DRAIN": "0",
        "OPS__HOST": HOST,
        "OPS__PORT": str(ops_port),
        "LOG__FORMAT": "text",
        "REGISTRY_TOPIC": broker.registry_topic,
        "PRESSURE__INTERVAL": "0.2",
    }
    named = {f"ARGUS_{name}": value for name, value in (settings | changes).items()}
    return {**os.environ, **named, "PYTHONASYNCIODEBUG": ""}


@asynccontextmanager
async def running_edge(broker: Kafka, **changes: str) -> AsyncIterator[Edge]:
    """An ingest process while the block runs, ready or not; it must end well."""
    http_port, ops_port = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from argus_ingest.main import main; main()",
        env=environment(broker, http_port, ops_port, changes),
    )
    edge = Edge(process, http_port, ops_port)
    try:
        yield edge
    finally:
        code = await edge.stop()
        assert code == 0, f"the process ended with {code}"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the Redis that edges use."""
    client = runtime_redis.connect(RedisSettings(url=redis_url))
    yield client
    await client.aclose()


@pytest.fixture
async def buckets(redis_url: str) -> AsyncIterator[RedisBuckets]:
    """The token buckets there, without an edge."""
    made = RedisBuckets(runtime_redis.connect(RedisSettings(url=redis_url)))
    await made.connect()
    yield made
    await made.close()


@pytest.fixture
def run_edge(broker: Kafka) -> Run:
    """Runs an ingest process while a block runs."""
    return partial(running_edge, broker)
