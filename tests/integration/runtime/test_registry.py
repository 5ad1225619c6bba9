"""The registry's tail against a real broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from argus_contract import registry
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Limits, Marker, TenantDocument
from argus_runtime import kafka as runtime_kafka
from argus_runtime.registry import Documents, RegistryTail
from argus_runtime.settings import KafkaSettings

LIMITS = Limits(per_key=Bucket(5000, 10000), per_ip=Bucket(50, 100))


class Publisher:
    """Writes a registry as the operator does."""

    def __init__(self, bootstrap: str) -> None:
        self.topic = f"registry-{secrets.token_hex(4)}"
        self._options = {"bootstrap_servers": bootstrap}
        self._producer = AIOKafkaProducer(**self._options)

    async def create(self) -> None:
        admin = AIOKafkaAdminClient(**self._options)
        await admin.start()
        try:
            compacted = {"cleanup.policy": "compact"}
            await admin.create_topics([NewTopic(self.topic, 1, 1, topic_configs=compacted)])
        finally:
            await admin.close()

    async def delete(self) -> None:
        admin = AIOKafkaAdminClient(**self._options)
        await admin.start()
        try:
            await admin.delete_topics([self.topic])
        finally:
            await admin.close()

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def tenant(self, name: str, revision: int = 1) -> None:
        document = TenantDocument(TenantId(name), "ns", name, revision, LIMITS)
        await self._send(name, registry.encode(document))

    async def remove(self, name: str) -> None:
        await self._send(name, None)

    async def marker(self, revision: int, tenants: int) -> None:
        await self._send(registry.MARKER_KEY, registry.encode(Marker(revision, tenants)))

    async def _send(self, key: str, value: bytes | None) -> None:
        await self._producer.send_and_wait(self.topic, value, key=key.encode())


@pytest.fixture
async def publisher(kafka: str) -> AsyncIterator[Publisher]:
    made = Publisher(kafka)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def tail(kafka: str, publisher: Publisher) -> AsyncIterator[RegistryTail]:
    options = runtime_kafka.options(KafkaSettings(bootstrap=kafka), "test")
    made = RegistryTail(options, publisher.topic)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait({running})


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # the tail has no event for the test to wait on
            await asyncio.sleep(0.02)


def names(tail: RegistryTail) -> set[str] | None:
    return None if tail.snapshot is None else set(tail.snapshot)


async def test_nothing_is_shown_before_a_marker_confirms_it(
    publisher: Publisher, tail: RegistryTail
) -> None:
    await publisher.create()
    await publisher.tenant("a")
    await publisher.marker(1, 2)
    await asyncio.sleep(3)
    assert names(tail) is None
    await publisher.tenant("b")
    await publisher.marker(2, 2)
    await until(lambda: names(tail) == {"a", "b"})


async def test_changes_are_heard_within_two_seconds(
    publisher: Publisher, tail: RegistryTail
) -> None:
    await publisher.create()
    await publisher.marker(1, 0)
    await until(lambda: names(tail) == set())
    heard: list[Documents] = []
    tail.subscribe(heard.append)
    await publisher.tenant("a")
    await until(lambda: names(tail) == {"a"}, seconds=2)
    await publisher.remove("a")
    await until(lambda: names(tail) == set(), seconds=2)
    assert [set(documents) for documents in heard] == [set(), {"a"}, set()]


async def test_a_topic_made_anew_unlearns_nothing_until_it_is_complete(
    publisher: Publisher, tail: RegistryTail
) -> None:
    await publisher.create()
    for name in ("a", "b", "c"):
        await publisher.tenant(name)
    await publisher.marker(10, 3)
    await until(lambda: names(tail) == {"a", "b", "c"})
    await publisher.delete()
    await asyncio.sleep(1)
    await publisher.create()
    await publisher.marker(5, 0)
    await asyncio.sleep(4)
    assert names(tail) == {"a", "b", "c"}
    await publisher.tenant("a", 11)
    await publisher.marker(11, 1)
    await until(lambda: names(tail) == {"a"}, seconds=60)
