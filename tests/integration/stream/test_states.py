"""What stands still says so, in SQL, with a reason that a person can act on."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from argus_contract.registry import Pipeline

from tests.integration.stream.test_guard import stands
from tests.integration.stream.world import World, event, until


async def test_an_open_partition_is_reported_open_again_and_again(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    async with world.stream():
        for partition in range(2):

            async def reported(partition: int = partition) -> bool:
                row = await world.sql.fetchrow(
                    "SELECT state, reported_at - since AS age FROM argus.partition_states "
                    "WHERE topic = $1 AND partition = $2",
                    pipeline.topic,
                    partition,
                )
                return row is not None and (row["state"], row["age"] > timedelta(0)) == (
                    "open",
                    True,
                )

            await until(reported, 15, "it is reported, and reported again")


async def test_a_broken_table_is_a_pause_until_something_is_stored(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    async with world.stream():
        await stands(world, pipeline, "open")
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
        await world.produce(pipeline, [event()])
        reason = await stands(world, pipeline, "paused", within=2)
        assert "distinct_id" in reason
        for _ in range(20):
            assert await stands(world, pipeline, "paused", within=0.1) == reason
            await asyncio.sleep(0.05)
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN away TO distinct_id")
        await stands(world, pipeline, "open", within=5)
    assert (await world.ledger(pipeline))["stored"] == 1


async def test_a_missing_dead_letter_topic_is_a_pause_that_names_it(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([pipeline.dead_letter_topic])
    finally:
        await admin.close()
    async with world.stream(world.settings(letter_timeout=1)):
        await world.produce(pipeline, [event(time=1)])
        reason = await stands(world, pipeline, "paused")
        assert reason.startswith("dead letters: ")
        await world.create_topic(pipeline.dead_letter_topic, 1, {})
        await stands(world, pipeline, "open", within=10)


async def test_a_log_that_cannot_be_parsed_is_a_stop_that_says_what_to_do(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event() for _ in range(3)])
    await world.produce_unreadable(pipeline)
    async with world.stream() as service:
        reason = await stands(world, pipeline, "stopped")
        assert "kafka-delete-records" in reason
        assert "from offset " in reason
        assert service.states["stopped"] == 1


async def unread(world: World, pipeline: Pipeline) -> asyncpg.Record:
    row = await world.sql.fetchrow(
        "SELECT in_flight, oldest_unread_at, last_event_at FROM argus.ledger WHERE topic = $1",
        pipeline.topic,
    )
    assert row is not None
    return row


async def test_the_oldest_unread_record_is_known_by_its_time_and_forgotten_once_stored(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    async with world.stream():
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1)
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN distinct_id TO away")
        before = datetime.now(UTC)
        await world.produce(pipeline, [event()])
        after = datetime.now(UTC)
        await asyncio.sleep(2)
        await world.produce(pipeline, [event() for _ in range(5)])

        async def seen() -> bool:
            return bool((await unread(world, pipeline))["in_flight"] == 6)

        await until(seen, 5, "six records are unread")
        oldest = (await unread(world, pipeline))["oldest_unread_at"]
        assert before - timedelta(seconds=0.1) <= oldest <= after + timedelta(seconds=1.5)
        await world.sql.execute(f"ALTER TABLE {table} RENAME COLUMN away TO distinct_id")

        async def read() -> bool:
            row = await unread(world, pipeline)
            return (row["in_flight"], row["oldest_unread_at"]) == (0, None)

        await until(read, 10, "nothing is unread")
        assert (await unread(world, pipeline))["last_event_at"] > after
