"""The contract of a log, held by the fake of the unit tests and by Kafka."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from argus_contract.records import Record
from argus_contract.sizes import KEPT_OF_REJECT, MAX_EVENT
from argus_ingest.adapters.kafka_log import MAX_BATCH, KafkaLog
from argus_ingest.publish import Log, LogError
from argus_runtime import kafka as runtime_kafka
from argus_runtime.settings import KafkaSettings

from tests.integration.ingest.conftest import Kafka
from tests.unit.ingest.helpers import FakeLog


@pytest.fixture
async def kafka_log(broker: Kafka) -> AsyncIterator[KafkaLog]:
    options = runtime_kafka.options(KafkaSettings(bootstrap=broker.bootstrap), "it")
    made = KafkaLog(options, delivery_timeout=3.0, compression="zstd")
    await made.run()
    yield made
    await made.close()


@pytest.fixture(params=["fake", "kafka"])
def log(request: pytest.FixtureRequest, kafka_log: KafkaLog) -> Log:
    return FakeLog(room=300) if request.param == "fake" else kafka_log


async def stored(
    log: Log, broker: Kafka, topic: str
) -> list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]]:
    if isinstance(log, FakeLog):
        return [(r.key, r.value, r.headers) for r in log.records]
    return [(r.key, r.value, list(r.headers)) for r in await broker.records(topic)]


async def test_a_batch_is_stored_as_it_was_filled(log: Log, broker: Kafka) -> None:
    topic = await broker.create()
    batch = log.batch()
    records = [
        Record(b"k", b"v1", [("argus-id", b"1"), ("argus-by-id", b"1")]),
        Record(None, b"", [("argus-reject", b"invalid_json")]),
    ]
    assert batch.extend(records) == len(records)
    await log.send(batch, topic, 0)
    assert await stored(log, broker, topic) == [(r.key, r.value, r.headers) for r in records]


async def test_a_full_batch_takes_no_more_and_the_next_one_does(log: Log, broker: Kafka) -> None:
    topic = await broker.create()
    record = Record(b"k", secrets.token_bytes(1_000), [])
    for _ in range(2):
        batch = log.batch()
        taken = batch.extend([record] * 1_000)
        assert 200 < taken < 400
        assert batch.extend([record]) == 0
        await log.send(batch, topic, 0)
    assert len(await stored(log, broker, topic)) > 400


async def test_the_first_record_always_fits(log: Log, broker: Kafka) -> None:
    topic = await broker.create()
    largest = Record(b"k" * 200, secrets.token_bytes(MAX_EVENT + 200), [("argus-id", b"1" * 36)])
    batch = log.batch()
    assert batch.extend([largest]) == 1
    await log.send(batch, topic, 0)
    assert len(await stored(log, broker, topic)) == 1
    assert KEPT_OF_REJECT < MAX_EVENT < MAX_BATCH


async def test_partitions_of_a_key_are_stable_and_spread(log: Log) -> None:
    keys = [f"user-{n}".encode() for n in range(200)]
    chosen = [log.partition(key, 7) for key in keys]
    assert chosen == [log.partition(key, 7) for key in keys]
    assert set(chosen) == set(range(7))


async def test_partitions_are_those_of_kafkas_own_partitioner(
    kafka_log: KafkaLog, broker: Kafka
) -> None:
    topic = await broker.create(5)
    for key in (b"", b"a", b"ab", b"abc", b"abcd", b"user-1", "grüße".encode(), bytes(range(256))):
        sent = await broker.producer.send_and_wait(topic, b"x", key=key)
        assert kafka_log.partition(key, 5) == sent.partition


async def test_a_topic_that_does_not_exist_is_an_error_in_time(kafka_log: KafkaLog) -> None:
    batch = kafka_log.batch()
    batch.extend([Record(None, b"x", [])])
    async with asyncio.timeout(10):
        with pytest.raises(LogError):
            await kafka_log.send(batch, f"it.{secrets.token_hex(6)}", 0)


async def test_a_partition_that_does_not_exist_yet_is_an_error(
    kafka_log: KafkaLog, broker: Kafka
) -> None:
    batch = kafka_log.batch()
    batch.extend([Record(None, b"x", [])])
    with pytest.raises(LogError, match="partition 3"):
        await kafka_log.send(batch, await broker.create(), 3)


async def test_a_log_keeps_trying_until_a_broker_is_there(broker: Kafka) -> None:
    options = runtime_kafka.options(KafkaSettings(bootstrap="127.0.0.1:1"), "it")
    log = KafkaLog(options, delivery_timeout=1.0, compression=None)
    trying = asyncio.create_task(log.run())
    await asyncio.sleep(0.5)
    assert not log.connected_once
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    await log.close()
