"""Engines that go away, tables that do not work, logs that are not what they were."""

import asyncio
from urllib.parse import urlsplit

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from argus_contract.registry import Pipeline
from argus_runtime.settings import DatabaseSettings
from argus_stream import opening
from argus_stream.settings import GuardSettings, StreamSettings
from pydantic import SecretStr

from tests.integration.stream.proxy import Proxy
from tests.integration.stream.world import PASSWORD, World, event, until


def through(world: World, proxy: Proxy) -> StreamSettings:
    """Settings by which the database is behind the proxy."""
    return world.settings(
        database=DatabaseSettings(
            host="127.0.0.1",
            port=proxy.port,
            name=urlsplit(world.database).path.removeprefix("/"),
            user=world.user,
            password=SecretStr(PASSWORD),
            connect_timeout=1,
            command_timeout=2,
        )
    )


def database_proxy(world: World) -> Proxy:
    url = urlsplit(world.database)
    return Proxy(url.hostname or "", url.port or 0)


async def send_for(world: World, pipeline: Pipeline, seconds: float) -> int:
    """Sends a little all the time; gives how many."""
    sent = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await world.produce(pipeline, [event() for _ in range(20)])
        sent += 20
        await asyncio.sleep(0.01)
    return sent


@pytest.mark.parametrize("how", ["cut", "freeze"])
async def test_a_lost_database_pauses_and_loses_nothing(world: World, how: str) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    async with database_proxy(world).listening() as proxy, world.stream(through(world, proxy)):
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1)
        sending = asyncio.create_task(send_for(world, pipeline, 6))
        for _ in range(2):
            await asyncio.sleep(0.7)
            getattr(proxy, how)()
            await asyncio.sleep(0.7 if how == "cut" else 2.5)
            proxy.mend()
        sent = 1 + await sending
        ledger = await world.settled(pipeline, sent, within=30)
        assert (ledger["stored"], ledger["duplicate"]) == (sent, 0)
        await world.counted(pipeline)
    await world.check_audit(pipeline)


async def test_a_stream_that_starts_without_a_database_waits_for_it(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event()])
    async with database_proxy(world).listening() as proxy:
        proxy.cut()
        async with world.stream(through(world, proxy)) as service:
            await asyncio.sleep(1)
            assert service.ready() is not None
            proxy.mend()
            await world.settled(pipeline, 1)
            assert service.ready() is None


async def test_a_broken_table_pauses_its_pipeline_alone(world: World) -> None:
    broken = await world.add_pipeline("broken", partitions=2)
    healthy = await world.add_pipeline("healthy", partitions=2)
    table = f"{broken.schema}.{broken.table}"
    async with world.stream():
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
        for _ in range(10):
            await world.produce(broken, [event() for _ in range(10)])
            await world.produce(healthy, [event() for _ in range(10)])
            await asyncio.sleep(0.05)
        assert (await world.settled(healthy, 100, within=5))["stored"] == 100
        assert (await world.ledger(broken))["offsets"] == 0
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN away TO distinct_id")
        assert (await world.settled(broken, 100, within=10))["stored"] == 100


async def test_a_locked_table_holds_the_others_up_for_the_lock_timeout_only(world: World) -> None:
    locked = await world.add_pipeline("locked")
    free = await world.add_pipeline("free")
    async with world.stream():
        await world.produce(locked, [event()])
        await world.settled(locked, 1)
        async with world.sql.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {locked.schema}.{locked.table}")
            await world.produce(locked, [event()])
            await world.produce(free, [event()])
            await world.settled(free, 1, within=3)
            assert (await world.ledger(locked))["offsets"] == 1
        await world.settled(locked, 2)


async def test_a_missing_dead_letter_topic_pauses_its_pipeline_alone(world: World) -> None:
    mute = await world.add_pipeline("mute")
    healthy = await world.add_pipeline("healthy")
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([mute.dead_letter_topic])
        async with world.stream(world.settings(letter_timeout=1)):
            await world.produce(mute, [event(time=1)])
            await world.produce(healthy, [event()])
            await world.settled(healthy, 1)
            assert (await world.ledger(mute))["offsets"] == 0
            await world.create_topic(mute.dead_letter_topic, 1, {})
            await world.settled(mute, 1)
    finally:
        await admin.close()
    assert len(await world.letters(mute)) == 1


async def test_a_log_that_begins_later_than_it_was_read_is_counted_as_lost(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event() for _ in range(5)])
    async with world.stream():
        await world.settled(pipeline, 5)
    await world.produce(pipeline, [event() for _ in range(5)])
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(pipeline.topic, 0): RecordsToDelete(8)})
    finally:
        await admin.close()
    async with world.stream():
        ledger = await world.settled(pipeline, 10)
    assert (ledger["stored"], ledger["lost"]) == (7, 3)


async def test_records_that_expire_while_their_pipeline_is_paused_are_lost_not_skipped(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    async with world.stream():
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1)
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
        await world.produce(pipeline, [event() for _ in range(5)])
        await asyncio.sleep(0.5)
        await admin.delete_records({TopicPartition(pipeline.topic, 0): RecordsToDelete(4)})
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN away TO distinct_id")
        ledger = await world.settled(pipeline, 6)
    await admin.close()
    assert ledger["lost"] + ledger["stored"] == 6
    assert ledger["skipped"] == 0


async def test_a_log_that_ends_before_it_was_read_stops_its_partition_until_it_is_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the log grows to, and whoever starts anew: it is another log."""
    monkeypatch.setattr(opening, "HALT_SECONDS", 0.5)
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event() for _ in range(5)])
    await world.sql.execute("SELECT argus.open_partition($1, 0, 100)", pipeline.topic)
    async with world.stream() as service:

        async def stopped() -> bool:
            return service.states["stopped"] == 1

        await until(stopped, 5, "the partition is stopped")
    await world.produce(pipeline, [event() for _ in range(200)])
    async with world.stream() as service:
        await until(stopped, 5, "the partition is stopped for the next process, too")
        await asyncio.sleep(1)
        assert service.states["stopped"] == 1
        assert (await world.ledger(pipeline))["offsets"] == 0
        assert await world.sql.fetchval("SELECT argus.resume_partition($1, 0)", pipeline.topic)
        assert (await world.settled(pipeline, 105))["stored"] == 105


async def test_redis_that_does_not_answer_delays_no_row(world: World, redis_url: str) -> None:
    pipeline = await world.add_pipeline("web")
    url = urlsplit(redis_url)
    async with Proxy(url.hostname or "", url.port or 0).listening() as proxy:
        away = redis_url.replace(f":{url.port}", f":{proxy.port}")
        base = world.settings()
        settings = world.settings(redis=base.redis.model_copy(update={"url": away, "timeout": 0.3}))
        async with world.stream(settings):
            await world.produce(pipeline, [event()])
            await world.settled(pipeline, 1)
            await world.counted(pipeline)
            proxy.freeze()
            for number in range(1, 21):
                await world.produce(pipeline, [event()])
                await world.settled(pipeline, 1 + number, within=1)
            proxy.cut()
            for number in range(21, 41):
                await world.produce(pipeline, [event()])
                await world.settled(pipeline, 1 + number, within=1)
            proxy.mend()
            await world.counted(pipeline)


@pytest.mark.parametrize("kind", ["number", "constraint"])
async def test_a_flood_of_poison_does_not_hold_up_another_pipeline(world: World, kind: str) -> None:
    """Of the kind that screening finds once it is warned, and of the kind that it never finds."""
    poisoned = await world.add_pipeline("poisoned")
    healthy = await world.add_pipeline("healthy")
    table = f"{poisoned.schema}.{poisoned.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CHECK (event <> 'poison')")
    properties = '{"a":1e999999}' if kind == "number" else "{}"
    flood = 3_000 if kind == "number" else 150
    await world.produce(poisoned, [event("poison", properties=properties) for _ in range(flood)])
    unguarded = GuardSettings(window=flood + 1, least=flood + 1, run=flood + 1)
    async with world.stream(world.settings(guard=unguarded)):
        for number in range(1, 16):
            await world.produce(healthy, [event()])
            await world.settled(healthy, number, within=5)
        ledger = await world.settled(poisoned, flood, within=60)
    assert ledger["dead_lettered"] == flood
    await world.check_audit(poisoned)


async def test_a_batch_that_cannot_be_read_stops_its_partition_alone(world: World) -> None:
    """Headers' names are UTF-8 by Kafka's protocol; nobody checks what a stranger writes."""
    strange = await world.add_pipeline("strange")
    healthy = await world.add_pipeline("healthy", partitions=2)
    await world.produce(strange, [event() for _ in range(3)])
    await world.produce_unreadable(strange)
    async with world.stream() as service:
        for number in range(1, 11):
            await world.produce(healthy, [event() for _ in range(20)])
            ledger = await world.settled(healthy, number * 20, within=5)
        assert service.states["open"] >= 2
    assert (ledger["stored"], ledger["skipped"]) == (200, 0)
    assert (await world.ledger(strange))["skipped"] == 0
