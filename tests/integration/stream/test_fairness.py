"""One pipeline's backlog, or one partition's traffic, and the age of another pipeline's rows."""

import asyncio
import time
from statistics import median

from argus_contract.registry import Pipeline

from tests.integration.stream.world import World, event

BACKLOG = 200_000
BATCH_RECORDS = 5_000
"""The default of `batch.records`."""
FETCH_SECONDS = 0.4
"""How long a record may wait to be fetched, however much is buffered of other partitions: a broker
holds a fetch for 0.1 s, aiokafka sends none in the first 0.1 s after one was answered, and the
answer has others' records, too."""
_CHUNK = 10_000


async def fill(world: World, pipeline: Pipeline, records: int, partition: int | None) -> None:
    """Produces a backlog; the same bodies over and over, but each event with an id of its own."""
    for _ in range(records // _CHUNK):
        await world.produce(pipeline, [event() for _ in range(_CHUNK)], partition=partition)


async def ages(world: World, pipeline: Pipeline) -> list[float]:
    """Seconds between receipt and storing of each row, both as the database has them."""
    rows = await world.sql.fetch(
        f"SELECT extract(epoch FROM o.created_at - e.received_at)::float8 AS age "
        f"FROM {pipeline.schema}.{pipeline.table} e JOIN argus.outbox o "
        "ON o.topic = $1 AND o.partition = e.source_partition "
        "AND e.source_offset >= o.from_offset AND e.source_offset < o.to_offset",
        pipeline.topic,
    )
    return [row["age"] for row in rows]


async def largest_move(world: World, pipeline: Pipeline) -> int:
    """The most offsets that one slice of the pipeline had."""
    found: int = await world.sql.fetchval(
        "SELECT max(to_offset - from_offset) FROM argus.outbox WHERE topic = $1", pipeline.topic
    )
    return found


async def shared(world: World, busy: Pipeline, quiet: Pipeline, backlog: int) -> None:
    """Asserts that `quiet` is stored while `busy` has a backlog, a batch or two late at most."""
    sent = 0
    async with world.stream():
        await world.settled(busy, 1, within=30)
        began = time.monotonic()
        before = (await world.ledger(busy))["offsets"]
        while (await world.ledger(busy))["offsets"] < backlog:
            await world.produce(quiet, [event()])
            sent += 1
            await asyncio.sleep(0.05)
        rate = (backlog - before) / (time.monotonic() - began)
        await world.settled(quiet, sent)
    late = await ages(world, quiet)
    batch = BATCH_RECORDS / rate
    print(
        f"backlog drained at {rate:.0f} records/s, {batch:.2f} s a batch of {BATCH_RECORDS}; "
        f"age of {len(late)} rows of the other: median {median(late):.2f} s, "
        f"worst {max(late):.2f} s"
    )
    assert await largest_move(world, busy) <= BATCH_RECORDS
    assert len(late) == sent >= 10, "the backlog lasts long enough to say something"
    assert median(late) <= FETCH_SECONDS + batch
    assert max(late) <= 2 * FETCH_SECONDS + 2 * batch


async def test_a_backlog_delays_another_pipelines_rows_by_a_batch_or_two(world: World) -> None:
    busy = await world.add_pipeline("busy", partitions=8)
    quiet = await world.add_pipeline("quiet")
    await fill(world, busy, BACKLOG, None)
    await shared(world, busy, quiet, BACKLOG)


async def test_one_hot_partition_delays_another_pipelines_rows_by_a_batch_or_two(
    world: World,
) -> None:
    busy = await world.add_pipeline("busy", partitions=4)
    quiet = await world.add_pipeline("quiet")
    await fill(world, busy, BACKLOG * 9 // 10, 0)
    await fill(world, busy, BACKLOG // 10, None)
    await shared(world, busy, quiet, BACKLOG)
