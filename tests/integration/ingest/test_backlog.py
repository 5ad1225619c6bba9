"""Back-pressure on a real broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.errors import NoError, RequestTimedOutError, TopicAlreadyExistsError
from argus_contract.names import STREAM_GROUP, TopicName
from argus_ingest.adapters.kafka_watcher import KafkaWatcher
from argus_ingest.backlog import PartitionState, Question
from argus_runtime import kafka as runtime_kafka
from argus_runtime.settings import KafkaSettings

from tests.integration.ingest.conftest import Kafka, Run, eventually, pipeline, tenant

HOUR = 3_600.0
DESCRIBE_LOG_DIRS = 35
EVENT = b'{"event":"signup"}'


async def commit(broker: Kafka, topic: str, offset: int, partition: int = 0) -> None:
    """Commits as the stream does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=STREAM_GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        where = TopicPartition(topic, partition)
        consumer.assign([where])
        await consumer.commit({where: offset})
    finally:
        await consumer.stop()


@pytest.fixture
async def watcher(broker: Kafka) -> AsyncIterator[KafkaWatcher]:
    options = runtime_kafka.options(KafkaSettings(bootstrap=broker.bootstrap), "it")
    made = KafkaWatcher(options)
    yield made
    await made.close()


async def look(
    watcher: KafkaWatcher, questions: Mapping[TopicName, Question], wanted: set[TopicName]
) -> Mapping[TopicName, list[PartitionState]]:
    """Looks until the wanted topics are known: metadata of new topics takes a moment."""

    async def once() -> Mapping[TopicName, list[PartitionState]]:
        try:
            return await watcher.look(questions)
        except OSError:
            return {}

    return await eventually(once, lambda seen: seen.keys() == wanted)


async def fill(broker: Kafka, topic: str, records: int, size: int = 1_000) -> None:
    for _ in range(records):
        await broker.producer.send(topic, secrets.token_bytes(size), partition=0)
    await broker.producer.flush()


async def test_a_log_and_how_far_it_is_read(broker: Kafka, watcher: KafkaWatcher) -> None:
    topic = await broker.create(2)
    questions = {topic: Question(2, HOUR)}
    await fill(broker, topic, 10)
    first, second = (await look(watcher, questions, {topic}))[topic]
    assert (first.start, first.end, first.committed, first.recent) == (0, 10, None, 0)
    assert first.size is not None
    assert 10_000 < first.size < 12_000
    assert (first.unread, first.overdue) == (10, False)
    assert (second.unread, second.recent, second.size) == (0, None, 0)
    await commit(broker, topic, 4)
    (first, _) = (await watcher.look(questions))[topic]
    assert (first.committed, first.unread) == (4, 6)
    await asyncio.sleep(0.05)
    (first, _) = (await watcher.look({topic: Question(2, 0.001)}))[topic]
    assert first.overdue


async def test_a_topic_that_is_gone_hides_no_other(broker: Kafka, watcher: KafkaWatcher) -> None:
    here, gone = await broker.create(), TopicName(f"it.{secrets.token_hex(6)}")
    await look(watcher, {here: Question(1, HOUR), gone: Question(1, HOUR)}, {here})


async def test_a_partition_that_is_not_there_yet_makes_its_topic_unknown(
    broker: Kafka, watcher: KafkaWatcher
) -> None:
    topic, other = await broker.create(), await broker.create()
    await look(watcher, {topic: Question(2, HOUR), other: Question(1, HOUR)}, {other})


async def test_a_partition_that_is_added_is_known_before_the_last_look_grows_stale(
    broker: Kafka, watcher: KafkaWatcher
) -> None:
    topic = await broker.create()
    await look(watcher, {topic: Question(1, HOUR)}, {topic})
    await broker.admin.create_partitions({topic: NewPartitions(2)})
    await look(watcher, {topic: Question(2, HOUR)}, {topic})


async def test_a_record_that_comes_during_a_look_is_not_overdue(
    broker: Kafka, watcher: KafkaWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await broker.create()
    questions = {topic: Question(1, HOUR)}
    await look(watcher, questions, {topic})
    committed = watcher._committed

    async def meanwhile() -> dict[TopicPartition, int]:
        await fill(broker, topic, 1)
        return await committed()

    monkeypatch.setattr(watcher, "_committed", meanwhile)
    (state,) = (await watcher.look(questions))[topic]
    assert (state.unread, state.overdue) == (1, False)


async def test_a_look_that_failed_for_sizes_leaves_the_next_its_sizes(
    broker: Kafka, watcher: KafkaWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await broker.create()
    questions = {topic: Question(1, HOUR)}
    await look(watcher, questions, {topic})
    ask = watcher._ask

    async def fail(node: int, request: Any) -> Any:
        if request.API_KEY == DESCRIBE_LOG_DIRS:
            raise RequestTimedOutError
        return await ask(node, request)

    with monkeypatch.context() as patched:
        patched.setattr(watcher, "_ask", fail)
        with pytest.raises(OSError, match="TimedOut"):
            await watcher.look(questions)
    (state,) = (await watcher.look(questions))[topic]
    assert state.size is not None


async def test_no_broker_is_an_error() -> None:
    options = runtime_kafka.options(
        KafkaSettings(bootstrap="127.0.0.1:1", request_timeout=1.0), "it"
    )
    watcher = KafkaWatcher(options)
    with pytest.raises(OSError, match="Kafka"):
        await watcher.look({TopicName("x"): Question(1, HOUR)})
    await watcher.close()


async def test_503_while_the_unread_log_nears_its_retention(broker: Kafka, run_edge: Run) -> None:
    full, idle = await broker.create(), await broker.create()
    acme = tenant(
        pipeline("main", full, retention_bytes=20_000), pipeline("idle", idle, match=("i",))
    )
    await broker.publish(acme)
    await fill(broker, full, 5)
    async with run_edge() as edge:
        await edge.until_ready()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202

        async def post() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        await fill(broker, full, 12)
        await eventually(post, lambda status: status == 503)
        answer = await edge.post(acme.server_key, EVENT)
        assert answer.json()["type"] == "urn:argus:problem:backlog"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await edge.post(acme.server_key, b'{"event":"i"}')).status_code == 202
        both = await edge.post(acme.server_key, b'[{"event":"i"},{"event":"x"}]')
        assert both.status_code == 503
        assert len(await broker.records(idle)) == 1
        labels = f'pipeline="main",tenant="{acme.document.display}"'
        metrics = await edge.metrics()
        assert metrics[f"argus_ingest_refusing{{{labels}}}"] == 1
        assert metrics[f"argus_ingest_unread_bytes{{{labels}}}"] > 16_000
        await commit(broker, full, 17)
        await eventually(post, lambda status: status == 202)


async def test_503_while_the_log_ends_before_what_the_stream_has_read(
    broker: Kafka, run_edge: Run
) -> None:
    topic = await broker.create()
    acme = tenant(pipeline("main", topic))
    await broker.publish(acme)
    await fill(broker, topic, 20)
    await commit(broker, topic, 20)
    async with run_edge() as edge:
        await edge.until_ready()

        async def post() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        assert await post() == 202
        await commit(broker, topic, 21)
        await asyncio.sleep(0.5)
        # By hand, and Kafka forgets the commits with the topic.
        await broker.admin.delete_topics([topic])
        await eventually(partial(recreated, broker, topic), bool)
        await eventually(post, lambda status: status == 503)
        await asyncio.sleep(1)
        answer = await edge.post(acme.server_key, EVENT)
        assert answer.status_code == 503
        assert "made anew or cut" in answer.json()["detail"]
        # Nor does a process that comes later take events, once the stream has committed again.
        await commit(broker, topic, 21)
        async with run_edge() as other:
            await other.until_ready()
            assert (await other.post(acme.server_key, EVENT)).status_code == 503
        await fill(broker, topic, 30)
        await eventually(post, lambda status: status == 202)


async def recreated(broker: Kafka, topic: str) -> bool:
    """Makes the topic again; False while the old one is not gone yet."""
    answer = await broker.admin.create_topics([NewTopic(topic, 1, 1)])
    ((_, code, *_),) = answer.topic_errors
    assert code in (NoError.errno, TopicAlreadyExistsError.errno)
    return bool(code == NoError.errno)


async def test_503_while_the_oldest_unread_record_nears_its_end(
    broker: Kafka, run_edge: Run
) -> None:
    topic = await broker.create()
    acme = tenant(pipeline("main", topic, retention_seconds=5))
    await broker.publish(acme)
    async with run_edge() as edge:
        await edge.until_ready()

        async def post() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        assert await post() == 202
        await eventually(post, lambda status: status == 503)
        await commit(broker, topic, len(await broker.records(topic)))
        await eventually(post, lambda status: status == 202)
