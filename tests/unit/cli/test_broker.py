"""Who is to blame: Kafka for its own errors, and for nobody else's."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from argus_cli import log, publish
from argus_cli.errors import UnknownError, UnreachableError
from argus_cli.log import Log
from argus_cli.publish import Publisher
from argus_contract.records import Record
from argus_runtime.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap="kafka.example:9092")
ERRORS = [KafkaTimeoutError(), KafkaConnectionError("gone"), TimeoutError(), OSError("no route")]
Opened = Callable[[KafkaSettings], AbstractAsyncContextManager[Any]]


class Client:
    """A consumer and a producer; `fault` is what it answers to everything but start and stop."""

    def __init__(self, fault: Exception | None = None, away: Exception | None = None) -> None:
        self.fault = fault
        self.away = away
        self.stopped = False

    async def start(self) -> None:
        if self.away:
            raise self.away

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, *_: object, **__: object) -> asyncio.Future[None]:
        if self.fault:
            raise self.fault
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def topics(self) -> set[str]:
        if self.fault:
            raise self.fault
        return set()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(log, "AIOKafkaConsumer", lambda **_: made)
    monkeypatch.setattr(publish, "AIOKafkaProducer", lambda **_: made)
    return made


@pytest.mark.parametrize("opened", [log.reading, publish.publishing])
@pytest.mark.parametrize(
    "error", [TimeoutError("database"), OSError("database"), BrokenPipeError()]
)
async def test_what_fails_between_two_calls_is_not_kafkas(
    client: Client, opened: Opened, error: Exception
) -> None:
    with pytest.raises(type(error)) as raised:
        async with opened(KAFKA):
            raise error

    assert raised.value is error
    assert client.stopped


@pytest.mark.parametrize("opened", [log.reading, publish.publishing])
@pytest.mark.parametrize("error", ERRORS)
async def test_a_broker_that_does_not_answer_at_first_is_named(
    client: Client, opened: Opened, error: Exception
) -> None:
    client.away = error

    with pytest.raises(UnreachableError, match=r"Kafka at kafka\.example:9092 cannot be reached"):
        async with opened(KAFKA):
            raise AssertionError

    assert client.stopped


@pytest.mark.parametrize("error", ERRORS)
async def test_so_is_one_that_does_not_answer_later(client: Client, error: Exception) -> None:
    client.fault = error

    async with publish.publishing(KAFKA) as publisher:
        assert isinstance(publisher, Publisher)
        with pytest.raises(UnreachableError, match=r"Kafka at kafka\.example:9092"):
            await publisher.publish("t", [Record(None, b"{}", [])])
    async with log.reading(KAFKA) as records:
        assert isinstance(records, Log)
        with pytest.raises(UnreachableError, match=r"Kafka at kafka\.example:9092"):
            await records.ends([("t", 0)])
        with pytest.raises(UnreachableError, match=r"Kafka at kafka\.example:9092"):
            await anext(records.letters("t"))


async def test_a_topic_that_is_not_there_is_no_broker_that_is_away(client: Client) -> None:
    async with log.reading(KAFKA) as records:
        with pytest.raises(UnknownError, match="no topic t"):
            await anext(records.letters("t"))
