"""Several processes at once: who waits for whom, and that nobody waits for ever."""

import asyncio
import json
import random
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.db.support import (
    Connect,
    Event,
    Pipeline,
    Slice,
    audit,
    count,
    ensure,
    ledger,
    new_pipeline,
    pipeline_ledger,
    sibling,
    stage,
    staging,
    store,
    store_staged,
)


async def test_of_two_owners_of_a_partition_one_stores(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    part = Slice(pipeline.topic, 0, 0, [Event(), Event(by_id=True)])
    owners = [await staging(connect_as) for _ in range(4)]
    outcomes = await asyncio.gather(*(store(one, part) for one in owners), return_exceptions=True)
    refusals = [o for o in outcomes if isinstance(o, asyncpg.PostgresError)]
    assert [error.sqlstate for error in refusals] == ["AR001"] * 3
    assert await count(admin, pipeline.events) == 2
    assert (await audit(admin, pipeline))["balanced"]


async def test_a_process_that_froze_before_its_call_is_fenced_when_it_wakes(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    frozen, successor = await staging(connect_as), await staging(connect_as)
    events = [Event() for _ in range(10)]
    late = [Slice(pipeline.topic, 0, 0, events[:7])]
    await stage(frozen, late)
    await store(successor, Slice(pipeline.topic, 0, 0, events))
    with pytest.raises(asyncpg.PostgresError) as caught:
        await store_staged(frozen, late)
    assert caught.value.sqlstate == "AR001"
    assert (await ledger(admin, pipeline))["next_offset"] == 10
    assert await count(admin, pipeline.events) == 10


async def test_a_process_frozen_while_it_stages_blocks_nobody(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    frozen = await staging(connect_as)
    transaction = frozen.transaction()
    await transaction.start()
    await stage(frozen, [Slice(pipeline.topic, 0, 0, [Event()])])

    await admin.execute("SET lock_timeout = '2s'")
    other = await staging(connect_as)
    await other.execute("SET lock_timeout = '2s'")
    await store(other, Slice(pipeline.topic, 0, 0, [Event()]))
    await ensure(admin, replace(pipeline, chunk_interval=timedelta(hours=1)))
    await admin.execute("SELECT argus.expire($1)", pipeline.uid)
    await admin.execute("SELECT argus.drop_pipeline($1)", pipeline.uid)
    await transaction.rollback()


async def test_partitions_with_the_same_events_and_names_never_deadlock(
    admin: asyncpg.Connection, connect_as: Connect
) -> None:
    pipelines = [new_pipeline()]
    pipelines.append(sibling(pipelines[0], "api"))
    for one in pipelines:
        await ensure(admin, one)
    shared = [
        Event(event=f"name-{n % 7}", by_id=n % 3 == 0, value=float(n), received_at=Event().time)
        for n in range(60)
    ]

    async def worker(partition: int) -> None:
        connection = await staging(connect_as)
        order = random.Random(partition)
        for round_ in range(15):
            parts = [
                Slice(one.topic, partition, round_ * 20, order.sample(shared, 20))
                for one in pipelines
            ]
            order.shuffle(parts)
            await store(connection, *parts)

    await asyncio.gather(*(worker(partition) for partition in range(4)))
    for one in pipelines:
        row = await audit(admin, one)
        assert row["balanced"]
        assert row["rows"] <= len(shared)
        assert await admin.fetchval(f"SELECT sum(count) FROM {one.rollup}") == row["rows"]


def replayed(
    pipeline: Pipeline, partition: int, start: int, events: list[Event], order: random.Random
) -> Slice:
    """Replays of 20 of the events' letters, some of which are refused again."""
    chosen = order.sample(range(len(events)), 20)
    keys = [f"{pipeline.topic}/7/{n}" for n in chosen]
    return Slice(
        pipeline.topic,
        partition,
        start,
        [events[n] for n in chosen[:12]],
        [
            {
                "id": None,
                "code": order.choice(["too_old", "refused", "too_new"]),
                "root": key,
                "attempt": order.randrange(2, 5),
            }
            for key in keys[12:]
        ],
        replays={place: (key, 2) for place, key in enumerate(keys[:12])},
    )


async def test_copies_of_the_same_replays_in_all_partitions_never_deadlock(
    admin: asyncpg.Connection, connect_as: Connect
) -> None:
    """Rows here and letters there, in any order, beside samples, states and retention."""
    pipelines = [new_pipeline()]
    pipelines.append(sibling(pipelines[0], "api"))
    for one in pipelines:
        await ensure(admin, one)
    events = [Event(by_id=n % 3 == 0) for n in range(40)]
    running = True

    async def worker(partition: int) -> None:
        connection = await staging(connect_as)
        order = random.Random(partition)
        for round_ in range(15):
            parts = [replayed(one, partition, round_ * 20, events, order) for one in pipelines]
            order.shuffle(parts)
            await store(connection, *parts)

    async def bystander() -> None:
        connection, order = await connect_as("argus_stream"), random.Random(9)
        while running:
            places = [(one.topic, p) for one in pipelines for p in range(one.partitions)]
            order.shuffle(places)
            topics, partitions = [place[0] for place in places], [place[1] for place in places]
            none = [None] * len(places)
            await connection.execute(
                "SELECT argus.sample($1, $2, $3, $4)", topics, partitions, [400] * len(places), none
            )
            await connection.execute(
                "SELECT argus.report_states($1, $2, $3, $4)",
                *(topics, partitions, ["open"] * len(places), none),
            )

    async def retention() -> None:
        expiring = await connect_as(None)
        while running:
            for one in pipelines:
                await expiring.execute("SELECT argus.expire($1)", one.uid)

    others = [asyncio.create_task(other()) for other in (bystander, bystander, retention)]
    await asyncio.gather(*(worker(partition) for partition in range(4)))
    running = False
    await asyncio.gather(*others)
    for one in pipelines:
        row = await audit(admin, one)
        assert row["balanced"]
        books = await pipeline_ledger(admin, one)
        assert (books["balanced"], books["dead_lettered"]) == (True, 4 * 15 * 8)
        outcomes = await admin.fetch(
            "SELECT outcome, count(*) FROM argus.replays WHERE topic = $1 GROUP BY 1", one.topic
        )
        assert sum(outcome["count"] for outcome in outcomes) == len(events)
        stored = sum(o["count"] for o in outcomes if o["outcome"] == "stored")
        assert stored <= row["rows"] == len(events)


async def test_batches_and_retention_at_once_stay_balanced(
    admin: asyncpg.Connection, connect_as: Connect
) -> None:
    short = new_pipeline(chunk_interval=timedelta(hours=1), retention=timedelta(hours=6))
    await ensure(admin, short)
    await admin.execute("SET deadlock_timeout = '10ms'")
    running = True

    async def worker(partition: int) -> None:
        connection = await staging(connect_as)
        order = random.Random(partition)
        for round_ in range(20):
            events = [
                Event(time=Event().time - timedelta(minutes=order.choice([0, 200, 300, 500, 900])))
                for _ in range(10)
            ]
            await persist(connection, Slice(short.topic, partition, round_ * 10, events))

    async def persist(connection: asyncpg.Connection, part: Slice) -> None:
        """Retries as the stream does; a chunk may go while a row that old is on its way to it."""
        while True:
            try:
                await store(connection, part)
                return
            except (asyncpg.DeadlockDetectedError, asyncpg.InternalServerError):
                await connection.execute("SELECT argus.create_staging()")

    async def retention() -> None:
        while running:
            try:
                await admin.execute("SELECT argus.expire($1)", short.uid)
            except asyncpg.DeadlockDetectedError:
                continue

    expiring = asyncio.create_task(retention())
    await asyncio.gather(*(worker(partition) for partition in range(3)))
    running = False
    await expiring
    dropped = await admin.fetchval("SELECT argus.expire($1)", short.uid)
    assert dropped is not None
    row = await audit(admin, short)
    assert row["balanced"]
    assert row["expired"] > 0


async def test_a_log_end_sampled_meanwhile_changes_no_term(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    sampler, connection = await connect_as("argus_stream"), await staging(connect_as)
    partitions = list(range(pipeline.partitions))

    async def sample() -> None:
        for n in range(100):
            ends = [1000 + n] * len(partitions)
            order = random.Random(n).sample(partitions, len(partitions))
            await sampler.execute(
                "SELECT argus.sample_log_end($1, $2, $3)", [pipeline.topic] * 4, order, ends
            )

    async def batches() -> None:
        for n in range(50):
            parts = [Slice(pipeline.topic, p, n, [Event()]) for p in reversed(partitions)]
            await store(connection, *parts)

    await asyncio.gather(sample(), batches())
    row = await ledger(admin, pipeline, 3)
    assert (row["stored"], row["log_end"], row["in_flight"]) == (50, 1099, 1049)
    assert not row["balanced"]


async def test_copies_of_one_letter_that_are_recorded_at_once_are_one(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    """Two processes asked for known ids before either had recorded anything."""
    first, second = await staging(connect_as), await staging(connect_as)
    letters = [{"id": str(uuid4()), "code": "too_old", "step": "decode"} for _ in range(5)]
    transaction = first.transaction()
    await transaction.start()
    assert (await store(first, Slice(pipeline.topic, 0, 0, letters=letters)))[0].duplicate == 0
    waiting = asyncio.create_task(
        store(second, Slice(pipeline.topic, 1, 0, [Event()], [*letters[1:], other_letter()]))
    )
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await transaction.commit()
    [stored] = await waiting
    assert (stored.stored, stored.duplicate) == (1, 4)
    books = [await ledger(admin, pipeline, partition) for partition in (0, 1)]
    assert [row["dead_lettered"] for row in books] == [5, 1]
    row = await pipeline_ledger(admin, pipeline)
    assert json.loads(row["dead_lettered_by_reason"]) == {"too_old": 5, "refused": 1}
    assert (await audit(admin, pipeline))["balanced"]


async def test_many_processes_record_copies_of_letters_without_deadlocks(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    ids = [str(uuid4()) for _ in range(30)]
    rng = random.Random(5)

    async def process(partition: int) -> None:
        connection = await staging(connect_as)
        order = rng.sample(ids, len(ids))
        for start in range(0, len(order), 3):
            letters = [{"id": one, "code": "too_old"} for one in order[start : start + 3]]
            events = [Event(event=name) for name in rng.sample(["a", "b", "c"], 3)]
            at = 2 * start
            await store(connection, Slice(pipeline.topic, partition, at, events, letters))

    await asyncio.gather(*(process(partition) for partition in range(pipeline.partitions)))
    row = await pipeline_ledger(admin, pipeline)
    assert json.loads(row["dead_lettered_by_reason"]) == {"too_old": 30}
    assert (await audit(admin, pipeline))["balanced"]


def other_letter() -> dict[str, str]:
    return {"id": str(uuid4()), "code": "refused", "step": "store"}
