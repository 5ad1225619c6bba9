"""Retention and audit: what goes is counted, and what goes uncounted is found out."""

from datetime import datetime, timedelta
from typing import Any
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
    now,
    store,
)

HOUR = timedelta(hours=1)


@pytest.fixture
async def short(admin: asyncpg.Connection) -> Pipeline:
    """A pipeline that keeps six hours, in chunks of one."""
    made = new_pipeline(
        chunk_interval=HOUR,
        retention=6 * HOUR,
        dedupe_window=2 * HOUR,
        dead_letter_retention=3 * HOUR,
    )
    await ensure(admin, made)
    return made


def aged(*ages: timedelta, **fields: Any) -> list[Event]:
    return [Event(time=now() - age, **fields) for age in ages]


async def expire(admin: asyncpg.Connection, pipeline: Pipeline) -> int:
    dropped = await admin.fetchval("SELECT argus.expire($1)", pipeline.uid)
    assert isinstance(dropped, int)
    return dropped


async def test_what_retention_drops_is_counted_per_partition(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    old = aged(8 * HOUR, 9 * HOUR, 50 * HOUR)
    await store(
        stream,
        Slice(short.topic, 0, 0, [*old, *aged(HOUR)]),
        Slice(short.topic, 1, 0, aged(10 * HOUR, HOUR, 2 * HOUR)),
    )
    assert await expire(admin, short) == 4
    assert await expire(admin, short) == 0
    assert [(await ledger(admin, short, p))["expired"] for p in (0, 1)] == [3, 1]
    row = await audit(admin, short)
    assert (row["stored"], row["expired"], row["rows"], row["balanced"]) == (7, 4, 3, True)
    assert (await ledger(admin, short))["balanced"]


async def test_rows_inside_the_retention_stay(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    await store(stream, Slice(short.topic, 0, 0, aged(5 * HOUR, timedelta(0), -HOUR / 2)))
    assert await expire(admin, short) == 0
    assert await count(admin, short.events) == 3


async def test_rollups_go_with_their_rows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    await store(stream, Slice(short.topic, 0, 0, aged(9 * HOUR, 8 * HOUR, HOUR, HOUR)))
    await expire(admin, short)
    assert await admin.fetchval(f"SELECT sum(count) FROM {short.rollup}") == 2
    assert await count(admin, short.events) == 2


async def test_letters_expire_counted(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    letters = [{"id": str(uuid4()), "code": "too_old", "event": "a"} for _ in range(3)]
    await store(stream, Slice(short.topic, 2, 0, letters=letters))
    await admin.execute(
        "UPDATE argus.dead_letters SET at = at - $2::interval"
        " WHERE topic = $1 AND source_offset < 2",
        short.topic,
        7 * HOUR,
    )
    await expire(admin, short)
    row = await audit(admin, short)
    terms = (row["dead_lettered"], row["letters_expired"], row["letters"], row["balanced"])
    assert terms == (3, 2, 1, True)


async def test_ids_and_outbox_are_pruned_past_their_windows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    received = [now() - 3 * HOUR, now() - HOUR]
    events = [Event(by_id=True, received_at=at) for at in received]
    await store(stream, Slice(short.topic, 0, 0, events))
    await store(stream, Slice(short.topic, 0, 2, [Event()]))
    await admin.execute(
        "UPDATE argus.outbox SET created_at = created_at - interval '66 minutes'"
        " WHERE topic = $1 AND from_offset = 0",
        short.topic,
    )
    await expire(admin, short)
    assert await admin.fetchval(f"SELECT array_agg(id) FROM {short.ids}") == [events[1].id]
    left = await admin.fetchval(
        "SELECT array_agg(from_offset) FROM argus.outbox WHERE topic = $1", short.topic
    )
    assert left == [2]


async def test_replays_are_kept_longer_than_kafka_keeps_their_letters(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    """A segment of letters goes as a whole, and takes up to a week to be closed."""
    root = f"{short.topic}/0/0"
    await store(stream, Slice(short.topic, 0, 0, [Event()], replays={0: (root, 2)}))
    for hours, left in ((8 * 24 + 5, 1), (2, 0)):
        await admin.execute(
            "UPDATE argus.replays SET settled_at = settled_at - $2::interval WHERE topic = $1",
            short.topic,
            hours * HOUR,
        )
        await expire(admin, short)
        assert await count(admin, f"argus.replays WHERE topic = '{short.topic}'") == left


async def test_pruning_replays_does_not_wait_for_a_batch_that_settles_one_again(
    admin: asyncpg.Connection, connect_as: Connect, short: Pipeline
) -> None:
    root = f"{short.topic}/0/0"
    letter = {"id": None, "code": "too_old", "root": root, "attempt": 2}
    writer = await connect_as(None)
    await writer.execute("SELECT argus.create_staging()")
    await store(writer, Slice(short.topic, 0, 0, letters=[letter]))
    await admin.execute(
        "UPDATE argus.replays SET settled_at = settled_at - interval '1 year' WHERE root = $1", root
    )
    async with writer.transaction():
        await store(writer, Slice(short.topic, 0, 1, [Event()], replays={0: (root, 3)}))
        await expire(admin, short)
    assert await admin.fetchval("SELECT outcome FROM argus.replays WHERE root = $1", root) == (
        "stored"
    )


async def test_a_row_removed_by_hand_shows_even_after_its_chunk_expired(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    events = aged(8 * HOUR, 8 * HOUR, HOUR)
    await store(stream, Slice(short.topic, 0, 0, events))
    assert (await audit(admin, short))["balanced"]
    await admin.execute(f"DELETE FROM {short.events} WHERE id = $1", events[0].id)
    assert not (await audit(admin, short))["balanced"]
    await expire(admin, short)
    row = await audit(admin, short)
    assert (row["stored"], row["expired"], row["rows"]) == (3, 1, 1)
    assert not row["balanced"]


async def test_a_letter_removed_by_hand_shows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    letters = [{"id": None, "code": "invalid_json"}] * 2
    await store(stream, Slice(pipeline.topic, 0, 0, letters=letters))
    assert (await audit(admin, pipeline))["balanced"]
    await admin.execute(
        "DELETE FROM argus.dead_letters WHERE topic = $1 AND source_offset = 0", pipeline.topic
    )
    assert not (await audit(admin, pipeline))["balanced"]


async def test_a_table_removed_by_hand_shows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    await admin.execute(f"DROP TABLE {pipeline.events}")
    row = await audit(admin, pipeline)
    assert (row["rows"], row["balanced"]) == (0, False)


async def test_retention_does_not_hold_up_batches_while_it_works(
    admin: asyncpg.Connection, stream: asyncpg.Connection, short: Pipeline
) -> None:
    """Closing a chunk and counting it, the slow part, locks no partition of the ledger."""
    await store(stream, Slice(short.topic, 0, 0, aged(9 * HOUR, HOUR)))
    cutoff: datetime = now() - short.retention
    await stream.execute("SET lock_timeout = '2s'")
    async with admin.transaction():
        dropped = await admin.fetch(
            "SELECT * FROM argus.drop_expired_chunks($1, $2, $3)",
            short.schema,
            short.suffix,
            cutoff,
        )
        assert [row["dropped"] for row in dropped] == [1]
        [outcome] = await store(stream, Slice(short.topic, 0, 2, aged(HOUR, timedelta(0))))
        assert outcome.stored == 2


async def test_retention_waits_for_a_batch_that_writes_what_it_drops(
    admin: asyncpg.Connection, connect_as: Connect, short: Pipeline
) -> None:
    """A row that a batch has written and not yet committed is counted, not dropped unseen."""
    writer = await connect_as(None)
    await writer.execute("SELECT argus.create_staging()")
    await store(writer, Slice(short.topic, 0, 0, aged(9 * HOUR)))
    transaction = writer.transaction()
    await transaction.start()
    await store(writer, Slice(short.topic, 0, 1, aged(9 * HOUR)))
    with pytest.raises(asyncpg.LockNotAvailableError):
        await expire(admin, short)
    await transaction.commit()
    assert await expire(admin, short) == 2
    assert (await audit(admin, short))["balanced"]
