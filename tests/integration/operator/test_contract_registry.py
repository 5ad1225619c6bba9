"""What the logic relies on of the registry: held by the unit tests' fake and the real log."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Bucket, Key, Limits, TenantDocument, encode
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.documents import MAX_DOCUMENT
from argus_operator.errors import BusyError, RefusedError, UnavailableError
from argus_operator.ports import Registry

from tests.integration.operator.contracts import BOTH, some_tenant
from tests.unit.operator.fakes import FakeRegistry

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


def document(id_: TenantId, **fields: Any) -> TenantDocument:
    limits = Limits(Bucket(1, 2), Bucket(3, 4))
    return TenantDocument(id=id_, namespace="n", name="t", revision=0, limits=limits, **fields)


def key(name: str) -> Key:
    return Key(KeyHash("0" * 64), name, KeyKind.SERVER)


class TestRegistry:
    @pytest_asyncio.fixture(loop_scope="session")
    async def registry(self, kind: str, kafka: str) -> AsyncIterator[Registry]:
        async with registry_log(kafka, f"argus.registry.{secrets.token_hex(6)}") as real:
            made: Registry = FakeRegistry() if kind == "fake" else real
            made.expect([])
            await made.load()
            yield made

    @BOTH
    async def test_only_news_is_written(self, registry: Registry) -> None:
        id_ = some_tenant()

        assert await registry.publish(document(id_))
        first = registry.documents[id_].revision
        assert not await registry.publish(document(id_))
        assert registry.documents[id_].revision == first
        assert await registry.publish(document(id_, suspended=True))
        assert registry.documents[id_].revision > first

    @BOTH
    async def test_a_document_too_large_for_a_record_is_refused(self, registry: Registry) -> None:
        """One of the largest size is taken, by Kafka too."""
        id_ = some_tenant()
        size = len(encode(document(id_, keys=(key("x"),))))
        largest = document(id_, keys=(key("x" * (MAX_DOCUMENT - size + 1)),))

        assert await registry.publish(largest)
        with pytest.raises(RefusedError, match="900,001 bytes"):
            await registry.publish(document(id_, keys=(key("x" * (MAX_DOCUMENT - size + 2)),)))
        assert len(registry.documents[id_].keys[0].name) == MAX_DOCUMENT - size + 1

    @BOTH
    async def test_a_retired_tenant_is_gone_and_twice_is_fine(self, registry: Registry) -> None:
        id_ = some_tenant()
        await registry.publish(document(id_))

        assert await registry.retire(id_)
        assert id_ not in registry.documents
        assert not await registry.retire(id_)

    @BOTH
    async def test_the_marker_waits_for_who_is_expected(self, registry: Registry) -> None:
        missing, here = some_tenant(), some_tenant()
        registry.expect([missing])
        with pytest.raises(BusyError):
            await registry.mark()
        with pytest.raises(BusyError):
            await registry.publish(document(here))
        assert here in registry.documents

        await registry.publish(document(missing))
        await registry.mark()

    @BOTH
    async def test_who_is_retired_is_not_waited_for(self, registry: Registry) -> None:
        missing = some_tenant()
        registry.expect([missing])
        await registry.retire(missing)
        await registry.mark()

    @BOTH
    async def test_a_write_settles_with_time(self, registry: Registry) -> None:
        id_ = some_tenant()
        await registry.publish(document(id_))
        assert not registry.settled(id_, 60)
        assert registry.settled(id_, 0)


@asynccontextmanager
async def registry_log(
    kafka: str, topic: str, clock: Callable[[], float] = time.time, timeout: float = 20
) -> AsyncIterator[RegistryLog]:
    options = {"bootstrap_servers": kafka}
    admin = KafkaAdmin(options, 1, 20)
    log = RegistryLog(options, topic_spec(topic, 1), admin, timeout, clock)
    try:
        yield log
    finally:
        await log.close()
        await admin.close()


async def test_a_new_writer_knows_what_the_old_one_wrote_and_counts_on(kafka: str) -> None:
    topic = f"argus.registry.{secrets.token_hex(6)}"
    id_ = some_tenant()
    async with registry_log(kafka, topic, clock=lambda: 4_000_000_000.0) as first:
        first.expect([])
        await first.publish(document(id_))
        written = first.documents[id_].revision
    async with registry_log(kafka, topic) as second:
        second.expect([id_])
        assert not await second.publish(document(id_))
        assert await second.publish(document(id_, suspended=True))
        assert second.documents[id_].revision > written


async def test_what_an_earlier_writer_wrote_settles_with_time_too(kafka: str) -> None:
    topic = f"argus.registry.{secrets.token_hex(6)}"
    id_ = some_tenant()
    async with registry_log(kafka, topic) as first:
        first.expect([])
        await first.publish(document(id_))
    moments = iter((100.0, 102.0, 103.0))
    async with registry_log(kafka, topic, clock=lambda: next(moments)) as second:
        assert not second.settled(id_, 3)
        assert second.settled(id_, 3)


async def test_before_the_first_list_no_marker_is_written(kafka: str) -> None:
    async with registry_log(kafka, f"argus.registry.{secrets.token_hex(6)}") as log:
        with pytest.raises(BusyError, match="first list"):
            await log.publish(document(some_tenant()))


async def test_a_registry_whose_topic_was_deleted_is_made_anew(kafka: str) -> None:
    topic = f"argus.registry.{secrets.token_hex(6)}"
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    async with registry_log(kafka, topic, timeout=5) as log:
        log.expect([])
        id_ = some_tenant()
        await log.publish(document(id_))
        await admin.delete([TopicName(topic)])
        log.expect([id_])

        async def written_again() -> bool:
            return await log.publish(document(id_))

        with pytest.raises(UnavailableError):
            await log.mark()
        await retried(written_again)
        assert (await admin.observe([TopicName(topic)]))[TopicName(topic)].partitions == 1
    await admin.close()


async def retried(work: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await work():
                    return
            except (UnavailableError, BusyError):
                await asyncio.sleep(0.2)
