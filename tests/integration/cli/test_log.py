import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from argus_cli.errors import UnknownError, UnreachableError
from argus_cli.log import Log, reading
from argus_contract import headers
from argus_runtime.settings import KafkaSettings


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[Log]:
    async with reading(KafkaSettings(bootstrap=kafka)) as view:
        yield view


@pytest.fixture
async def topic(kafka: str) -> AsyncIterator[str]:
    """A topic of two partitions whose records are kept for two hours."""
    name = f"cli-{secrets.token_hex(6)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "7200000"})])
    # The controller answers before the broker knows of the topic.
    async with asyncio.timeout(10):
        while name not in await admin.list_topics():  # noqa: ASYNC110  # Kafka has no event for it
            await asyncio.sleep(0.05)
    yield name
    await admin.delete_topics([name])
    await admin.close()


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    started = AIOKafkaProducer(bootstrap_servers=kafka)
    await started.start()
    yield started
    await started.stop()


async def test_copies_of_a_letter_are_one(log: Log, topic: str, producer: AIOKafkaProducer) -> None:
    for key, value in ((b"t/0/1", b"first"), (b"t/0/2", b"other"), (b"t/0/1", b"again")):
        why = [(headers.REASON, b"invalid_event")]
        await producer.send_and_wait(topic, value, key=key, partition=0, headers=why)

    latest, count = await log.latest(topic)
    letters = [letter async for letter in latest]

    assert count == 2
    assert [(str(letter.key), letter.value) for letter in letters] == [
        ("t/0/1", b"first"),
        ("t/0/2", b"other"),
    ]
    assert {letter.reason for letter in letters} == {"invalid_event"}
    assert len([letter async for letter in log.letters(topic)]) == 3


async def test_of_an_event_that_was_replayed_the_latest_letter_is_shown(
    log: Log, topic: str, producer: AIOKafkaProducer
) -> None:
    again = [(headers.ROOT, b"t/0/1"), (headers.ATTEMPT, b"2")]
    await producer.send_and_wait(topic, b"first", key=b"t/0/1", partition=0)
    await producer.send_and_wait(topic, b"second", key=b"t/0/9", partition=0, headers=again)

    latest, count = await log.latest(topic)

    assert [letter.value async for letter in latest] == [b"second"]
    assert count == 1


async def test_letters_can_be_read_from_a_moment_on(
    log: Log, topic: str, producer: AIOKafkaProducer
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for offset in range(3):
        at = now + timedelta(seconds=offset)
        await producer.send_and_wait(
            topic,
            b"x",
            key=b"t/0/%d" % offset,
            partition=0,
            timestamp_ms=round(at.timestamp() * 1000),
        )

    since = now + timedelta(seconds=1)
    assert [letter.key.offset async for letter in log.letters(topic, since)] == [1, 2]
    latest, count = await log.latest(topic, now + timedelta(hours=1))
    assert (count, [letter async for letter in latest]) == (0, [])


async def test_a_topic_without_letters_has_none(log: Log, topic: str) -> None:
    assert [letter async for letter in log.letters(topic)] == []


async def test_a_record_that_is_no_letter_is_none_and_yet_the_audit_sees_it(
    log: Log, topic: str, producer: AIOKafkaProducer
) -> None:
    await producer.send_and_wait(topic, None, key=b"\xff", partition=0)

    assert [letter async for letter in log.letters(topic)] == []
    assert list(await log.written(topic)) == ["\ufffd"]


async def test_a_first_letter_is_known_by_its_id_and_that_of_a_replay_is_not(
    log: Log, topic: str, producer: AIOKafkaProducer
) -> None:
    identity = uuid4()
    given = (headers.ID, str(identity).encode())
    carried = {
        b"t/0/1": [given],
        b"t/1/1": [given],
        b"t/0/2": [given, (headers.ROOT, b"t/0/1"), (headers.ATTEMPT, b"2")],
        b"t/0/3": [(headers.ID, b"\xff no uuid")],
        b"t/0/4": [],
    }
    for key, some in carried.items():
        await producer.send_and_wait(topic, b"x", key=key, partition=0, headers=some)

    letters = await log.written(topic)

    assert {key: letter.id for key, letter in letters.items()} == {
        "t/0/1": identity,
        "t/1/1": identity,
        "t/0/2": None,
        "t/0/3": None,
        "t/0/4": None,
    }


async def test_the_end_of_every_partition_is_known(
    log: Log, topic: str, producer: AIOKafkaProducer
) -> None:
    await producer.send_and_wait(topic, b"a record", partition=1)

    ends = await log.ends([(topic, 0), (topic, 1), ("cli-there-is-no-such-topic", 0)])

    assert ends == {(topic, 0): 0, (topic, 1): 1}


async def test_the_retention_of_a_topic_is_known(log: Log, topic: str) -> None:
    assert await log.retention(topic) == timedelta(hours=2)


async def test_a_topic_that_is_not_there_is_named(log: Log) -> None:
    for ask in (log.written, log.latest, log.retention):
        with pytest.raises(UnknownError, match="cli-there-is-no-such-topic"):
            await ask("cli-there-is-no-such-topic")


async def test_a_view_that_is_left_at_once_is_closed_in_peace(kafka: str) -> None:
    async with reading(KafkaSettings(bootstrap=kafka)):
        pass

    with pytest.raises(LookupError, match="the caller's own"):
        async with reading(KafkaSettings(bootstrap=kafka)):
            raise LookupError("the caller's own")


async def test_a_broker_that_does_not_answer_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        async with reading(KafkaSettings(bootstrap="127.0.0.1:1")):
            pytest.fail("nobody listens there")
