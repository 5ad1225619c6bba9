"""Live counters: Redis follows SQL through whatever happens to Redis."""

import asyncio

from argus_contract import redis_keys
from argus_contract.registry import Pipeline

from tests.integration.stream.world import World, event, micros


def fence(world: World, pipeline: Pipeline, partition: int = 0) -> str:
    return redis_keys.fence(world.tenant, pipeline.topic, partition)


async def test_counts_by_second_of_receipt_and_forgets_old_ones(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    now = micros()
    second = now // 1_000_000 - 60
    old = now - 3_700 * 1_000_000
    await world.produce(
        pipeline,
        [
            event("a", received=second * 1_000_000),
            event("a", received=second * 1_000_000 + 999_999),
            event("b", received=second * 1_000_000 + 1_000_000),
            event("old", received=old),
        ],
    )
    async with world.stream():
        await world.settled(pipeline, 4)
        await asyncio.sleep(0.5)
    first = await world.redis.hgetall(redis_keys.live(world.tenant, "web", second))
    other = await world.redis.hgetall(redis_keys.live(world.tenant, "web", second + 1))
    assert (first, other) == ({b"a": b"2"}, {b"b": b"1"})
    assert not await world.redis.exists(redis_keys.live(world.tenant, "web", old // 1_000_000))
    expires = await world.redis.expiretime(redis_keys.live(world.tenant, "web", second))
    assert expires == second + 3_600


async def test_lost_counters_are_rebuilt_equal_to_sql(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=3)
    async with world.stream():
        await world.produce(pipeline, [event(name) for name in "abcde" * 60])
        await world.settled(pipeline, 300)
        await world.counted(pipeline)
        keys = [key async for key in world.redis.scan_iter(f"{{{world.tenant}}}*", count=1000)]
        await world.redis.unlink(*keys)
        await world.produce(pipeline, [event("f")])
        await world.settled(pipeline, 301)
        await world.counted(pipeline)


async def test_one_lost_fence_rebuilds_the_window_while_the_others_are_applied(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web", partitions=3)
    async with world.stream():
        sent = 0
        for number in range(40):
            await world.produce(pipeline, [event(name) for name in "abc" * 5])
            sent += 15
            if number % 7 == 3:
                await world.redis.delete(fence(world, pipeline, number % 3))
            await asyncio.sleep(0.02)
        await world.settled(pipeline, sent)
        await world.counted(pipeline)


async def test_a_fence_behind_catches_up_from_the_outbox_and_not_by_a_rebuild(
    world: World,
) -> None:
    """A Redis that forgot its last moments: an older, consistent state of counts and fence."""
    pipeline = await world.add_pipeline("web")
    async with world.stream():
        await world.produce(pipeline, [event("a")])
        await world.settled(pipeline, 1)
        await world.counted(pipeline)
    marker = redis_keys.live(world.tenant, "web", micros() // 1_000_000 - 30)
    await world.redis.hset(marker, "marker", "1")
    async with world.stream(world.settings(redis=world.nowhere())):
        await world.produce(pipeline, [event("a")])
        await world.settled(pipeline, 2)
    async with world.stream():
        await asyncio.sleep(1)
        live = await world.live(pipeline)
    assert live == {"a": 2, "marker": 1}, "a rebuild would have removed the marker"


async def test_a_fence_older_than_the_outbox_rebuilds(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    async with world.stream():
        await world.produce(pipeline, [event("a")])
        await world.settled(pipeline, 1)
        await world.produce(pipeline, [event("a")])
        await world.settled(pipeline, 2)
        await world.counted(pipeline)
    await world.redis.set(fence(world, pipeline), 0)
    await world.sql.execute(
        "DELETE FROM argus.outbox WHERE topic = $1 AND from_offset = 0", pipeline.topic
    )
    async with world.stream():
        await asyncio.sleep(1)
        parts = await world.sql.fetch("SELECT * FROM argus.live_window($1)", pipeline.topic)
        assert parts[0]["next_offset"] == 2
        assert await world.live(pipeline) == {"a": 1}
        assert await world.redis.get(fence(world, pipeline)) == b"2"


async def test_two_processes_rebuild_at_once_and_end_right(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=4)
    async with world.stream(), world.stream():
        sent = 0
        for number in range(30):
            await world.produce(pipeline, [event(name) for name in "abcd" * 4])
            sent += 16
            if number % 10 == 5:
                keys = [key async for key in world.redis.scan_iter(f"{{{world.tenant}}}*")]
                await world.redis.unlink(*keys)
            await asyncio.sleep(0.03)
        await world.settled(pipeline, sent)
        await world.counted(pipeline)
