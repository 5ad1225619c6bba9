"""What the logic relies on of Kafka's topics: held by the unit tests' fake and a real broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from argus_contract import names
from argus_contract.names import TopicName
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.errors import UnavailableError
from argus_operator.ports import Topics
from argus_operator.topics import Backlog, Configure, Create, Grow, TopicSpec, plan

from tests.integration.operator.contracts import BOTH, unused
from tests.unit.operator.fakes import FakeTopics

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


def spec(
    name: TopicName, partitions: int = 1, configs: Mapping[str, str] | None = None
) -> TopicSpec:
    return TopicSpec(name, partitions, {"retention.ms": "3600000", **(configs or {})})


class TestTopics:
    @pytest_asyncio.fixture(loop_scope="session")
    async def topics(self, kind: str, kafka: str) -> AsyncIterator[Topics]:
        real = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
        yield FakeTopics() if kind == "fake" else real
        await real.close()

    @BOTH
    async def test_what_was_planned_and_applied_is_observed(self, topics: Topics) -> None:
        name = unused()
        wanted = spec(name, 2)
        assert await topics.observe([name]) == {}

        await topics.apply([Create(wanted)])
        observed = (await topics.observe([name]))[name]
        assert plan(wanted, observed) == []
        assert name in await topics.matching("argus.contract.")

    @BOTH
    async def test_creating_what_exists_changes_nothing(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])
        await topics.apply([Create(spec(name, 5))])

        assert (await topics.observe([name]))[name].partitions == 2

    @BOTH
    async def test_growth_and_configuration(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name))])
        wanted = spec(name, 3, {"retention.bytes": "33554432", "segment.bytes": "8388608"})
        await topics.apply([Grow(name, 3), Configure(name, wanted.configs)])
        found = (await topics.observe([name]))[name]

        assert plan(wanted, found) == []
        assert found.retention_bytes == 3 * 33_554_432

    @BOTH
    async def test_a_topic_never_shrinks(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])

        with pytest.raises(UnavailableError):
            await topics.apply([Grow(name, 1)])

    @BOTH
    async def test_deleting_twice_is_fine(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name))])
        await topics.delete([name])
        await topics.delete([name])

        assert await topics.observe([name]) == {}

    @BOTH
    async def test_an_empty_topic_has_no_backlog(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])

        assert await topics.backlog(name, 2, 3_600_000) == Backlog(0.0, False)


async def test_the_backlog_is_what_the_stream_has_not_committed(kafka: str) -> None:
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    name = unused()
    await admin.apply([Create(spec(name, 2))])
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for _ in range(4):
            await producer.send_and_wait(name, b"event", partition=1)
    assert await admin.backlog(name, 2, 3_600_000) == Backlog(1.0, False)
    assert await admin.backlog(name, 2, -60_000) == Backlog(1.0, True)

    partition = TopicPartition(name, 1)
    stream = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=names.STREAM_GROUP, enable_auto_commit=False
    )
    async with stream:
        stream.assign([partition])
        await stream.commit({partition: 3})
        assert await admin.backlog(name, 2, 3_600_000) == Backlog(0.25, False)
        await stream.commit({partition: 4})
        assert await admin.backlog(name, 2, -60_000) == Backlog(0.0, False)
    await admin.close()


async def test_a_refused_configuration_is_an_error_that_names_the_topic(kafka: str) -> None:
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    name = unused()
    await admin.apply([Create(spec(name))])
    with pytest.raises(UnavailableError, match=name):
        await admin.apply([Configure(name, {"retention.ms": "soon"})])
    with pytest.raises(UnavailableError):
        await admin.apply([Create(spec(unused(), 1, {"no.such.setting": "1"}))])
    await admin.close()


async def test_a_broker_that_is_away_is_unavailable_in_bounded_time() -> None:
    admin = KafkaAdmin({"bootstrap_servers": "127.0.0.1:1"}, 1, 2)
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError, match="Kafka"):
            await admin.observe([unused()])
    await admin.close()
