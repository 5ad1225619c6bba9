"""What one pipeline suffers is its own: the rows of two others keep their age, whatever it does."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_stream import metrics
from argus_stream.settings import BatchSettings, StoreSettings, StreamSettings

from tests.integration.stream.world import Message, World, event, reject, until

AGE: Final = 5.0
"""Seconds from receipt to row that a bystander's events may take: guarantee 6."""
SECONDS: Final = 8.0
"""How long the bystanders send."""
BACKLOG: Final = 120_000

Trouble = Callable[[World, Pipeline], AbstractAsyncContextManager[None]]


class Bystander:
    """Sends a little all the time to a pipeline of one partition, and sees when it is stored."""

    def __init__(self, world: World, pipeline: Pipeline) -> None:
        self._world = world
        self._pipeline = pipeline
        self._sent: list[float] = []
        """When each offset was sent, in monotonic seconds."""
        self._stored = 0
        self.ages: list[float] = []
        """Of what is stored, in seconds, to a poll's precision."""

    async def begin(self) -> None:
        """Returns when a first event is stored: from then on nothing is late by our own start."""
        await self._world.produce(self._pipeline, [event()])
        await self._world.settled(self._pipeline, 1, within=30)
        self._stored = 1
        self._sent.append(time.monotonic())

    async def send(self) -> None:
        """Sends for a while, then waits until all is stored."""
        watching = asyncio.create_task(self._watch())
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self._sent += [time.monotonic()] * 5
            await self._world.produce(self._pipeline, [event() for _ in range(5)])
            await asyncio.sleep(0.05)
        await until(self._is_stored, 30, f"all rows of {self._pipeline.name}")
        watching.cancel()

    async def _is_stored(self) -> bool:
        return self._stored == len(self._sent)

    async def _watch(self) -> None:
        while True:
            offsets = (await self._world.ledger(self._pipeline))["offsets"]
            now = time.monotonic()
            self.ages += [now - sent for sent in self._sent[self._stored : offsets]]
            self._stored = offsets
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """All is stored once, in time, and nothing of it failed."""
        ledger = await self._world.ledger(self._pipeline)
        assert ledger["stored"] == ledger["offsets"] == len(self._sent) > 100
        assert not pauses(self._pipeline)
        await self._world.counted(self._pipeline)
        await self._world.check_audit(self._pipeline)
        print(f"\n{self._pipeline.name}: {len(self.ages)} rows, age p99 {self.p99:.2f} s")
        assert self.p99 < AGE

    @property
    def p99(self) -> float:
        """The age that 99 of 100 rows do not exceed."""
        return sorted(self.ages)[math.ceil(len(self.ages) * 0.99) - 1]


def pauses(pipeline: Pipeline) -> int:
    """How often this process has paused the pipeline."""
    return int(metrics.PAUSES.labels(pipeline.topic)._value.get())


def settings(world: World) -> StreamSettings:
    """Batches, delays and time-outs as they are in production."""
    return world.settings(batch=BatchSettings(), store=StoreSettings())


async def forbid(world: World, pipeline: Pipeline) -> None:
    """Makes poison of a name, such as only the database finds."""
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CHECK (event <> 'poison')")


@asynccontextmanager
async def sending(
    world: World, pipeline: Pipeline, make: Callable[[], Sequence[Message]], pause: float = 0.05
) -> AsyncIterator[None]:
    """Sends what `make` makes again and again while the block runs."""

    async def keep_sending() -> None:
        while True:
            await world.produce(pipeline, make())
            await asyncio.sleep(pause)

    task = asyncio.create_task(keep_sending())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def all_poison(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """Nothing but records that the database refuses."""
    await forbid(world, pipeline)
    await world.produce(pipeline, [event("poison") for _ in range(2_000)])
    async with sending(world, pipeline, lambda: [event("poison") for _ in range(50)]):
        yield


@asynccontextmanager
async def much_poison(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """Every fourth record is refused: too few for the guard, enough to bisect all the time."""
    await forbid(world, pipeline)
    log = ["poison", "fine", "fine", "fine"]
    await world.produce(pipeline, [event(name) for name in log * 500])
    async with sending(world, pipeline, lambda: [event(name) for name in log * 10]):
        yield


@asynccontextmanager
async def unstorable_numbers(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """What a client can send, and the database refuses in a whole batch."""
    bad = '{"a":1e999999}'
    await world.produce(pipeline, [event(properties=bad) for _ in range(3_000)])
    async with sending(world, pipeline, lambda: [event(properties=bad) for _ in range(50)]):
        yield


@asynccontextmanager
async def broken_table(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """A column is missing."""
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
    async with sending(world, pipeline, lambda: [event() for _ in range(50)]):
        yield
    assert pauses(pipeline)
    assert (await world.ledger(pipeline))["offsets"] == 0


@asynccontextmanager
async def locked_table(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """Somebody holds a lock on the table for as long as they like."""
    async with world.sql.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {pipeline.schema}.{pipeline.table}")
        async with sending(world, pipeline, lambda: [event() for _ in range(50)]):
            yield
        assert pauses(pipeline)


@asynccontextmanager
async def no_letters(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """Its dead-letter topic is gone, and everything it gets is a dead letter."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([pipeline.dead_letter_topic])
    finally:
        await admin.close()
    async with sending(
        world, pipeline, lambda: [reject(Code.INVALID_JSON, b"{") for _ in range(20)]
    ):
        yield
    assert pauses(pipeline)
    await world.create_topic(pipeline.dead_letter_topic, 1, {})


@asynccontextmanager
async def hot_key(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """Nine tenths of the whole traffic have one key, and so one partition."""
    async with sending(world, pipeline, lambda: [event() for _ in range(500)], pause=0.1):
        yield


@asynccontextmanager
async def backlog(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """The log of a long outage waits."""
    for _ in range(BACKLOG // 10_000):
        await world.produce(pipeline, [event() for _ in range(10_000)])
    yield


@asynccontextmanager
async def large_records(world: World, pipeline: Pipeline) -> AsyncIterator[None]:
    """A backlog of few records, but a hundred megabytes."""
    large = f'{{"a":"{"x" * 500_000}"}}'
    for _ in range(20):
        await world.produce(pipeline, [event(properties=large) for _ in range(10)])
    yield


@pytest.mark.parametrize(
    "trouble",
    [
        all_poison,
        much_poison,
        unstorable_numbers,
        broken_table,
        locked_table,
        no_letters,
        hot_key,
        backlog,
        large_records,
    ],
)
async def test_one_pipelines_trouble_does_not_age_the_rows_of_others(
    world: World, trouble: Trouble
) -> None:
    others = [Bystander(world, await world.add_pipeline(name)) for name in ("first", "second")]
    troubled = await world.add_pipeline("troubled", partitions=1 if trouble is hot_key else 2)
    async with trouble(world, troubled), world.stream(settings(world)):
        await asyncio.gather(*(other.begin() for other in others))
        await asyncio.gather(*(other.send() for other in others))
    async with world.stream(settings(world)):
        for other in others:
            await other.check()


async def test_a_table_that_is_repaired_is_read_on_and_lost_nothing(world: World) -> None:
    broken = await world.add_pipeline("broken", partitions=2)
    table = f"{broken.schema}.{broken.table}"
    async with world.stream():
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
        await world.produce(broken, [event() for _ in range(500)])
        await asyncio.sleep(2)
        assert (await world.ledger(broken))["offsets"] == 0
        states = await world.sql.fetch(
            "SELECT state, reason FROM argus.ledger WHERE topic = $1", broken.topic
        )
        assert {row["state"] for row in states} == {"paused"}
        assert all("distinct_id" in row["reason"] for row in states)
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN away TO distinct_id")
        ledger = await world.settled(broken, 500, within=10)
        await world.counted(broken)
    assert (ledger["stored"], ledger["duplicate"]) == (500, 0)
    await world.check_audit(broken)
