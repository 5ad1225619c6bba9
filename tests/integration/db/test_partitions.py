"""Opening partitions, the log's end, ids that are known, and who is alive."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.db.support import (
    Connect,
    Event,
    Pipeline,
    Slice,
    ensure_pipeline,
    ensure_tenant,
    ledger,
    new_pipeline,
    now,
    store,
)


async def open_partition(
    connection: asyncpg.Connection, topic: str, partition: int, log_start: int
) -> int:
    offset = await connection.fetchval(
        "SELECT argus.open_partition($1, $2, $3)", topic, partition, log_start
    )
    assert isinstance(offset, int)
    return offset


async def test_a_new_partition_is_read_from_the_start_of_its_log(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    fresh = new_pipeline()
    await ensure_tenant(admin, fresh)
    await ensure_pipeline(admin, fresh)
    assert await open_partition(stream, fresh.topic, 0, 17) == 17
    assert await open_partition(stream, fresh.topic, 0, 0) == 17
    row = await ledger(admin, fresh)
    assert (row["first_offset"], row["log_end"], row["lost"]) == (17, 17, 0)
    assert row["balanced"]


async def test_a_partition_is_read_from_where_sql_stands(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()]))
    assert await open_partition(stream, pipeline.topic, 0, 0) == 2
    assert await open_partition(stream, pipeline.topic, 0, 2) == 2


async def test_a_halted_partition_is_opened_by_nobody_until_it_is_resumed(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    for reason in ("not the log that was read", "found later"):
        await stream.execute("SELECT argus.halt_partition($1, 0, $2)", pipeline.topic, reason)
    with pytest.raises(asyncpg.PostgresError, match="not the log that was read") as halted:
        await open_partition(stream, pipeline.topic, 0, 0)
    assert halted.value.sqlstate == "AR410"
    resume = "SELECT argus.resume_partition($1, 0)"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stream.execute(resume, pipeline.topic)
    assert await admin.fetchval(resume, pipeline.topic) is True
    assert await admin.fetchval(resume, pipeline.topic) is False
    assert await open_partition(stream, pipeline.topic, 0, 0) == 1


async def test_records_that_expired_unread_are_lost_and_show(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    assert await open_partition(stream, pipeline.topic, 0, 5) == 5
    row = await ledger(admin, pipeline)
    assert (row["lost"], row["next_offset"], row["log_end"]) == (4, 5, 5)
    assert not row["balanced"]


async def test_several_may_open_a_partition_at_once(
    admin: asyncpg.Connection, connect_as: Connect
) -> None:
    fresh = new_pipeline()
    await ensure_tenant(admin, fresh)
    await ensure_pipeline(admin, fresh)
    openers = [await connect_as("argus_stream") for _ in range(4)]
    offsets = await asyncio.gather(*(open_partition(one, fresh.topic, 0, 3) for one in openers))
    assert offsets == [3, 3, 3, 3]


async def test_an_unknown_topic_cannot_be_opened(stream: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await open_partition(stream, "no.such.topic", 0, 0)
    assert caught.value.sqlstate == "AR404"


async def test_the_ledger_is_balanced_only_at_the_end_of_the_log(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def sample(end: int) -> asyncpg.Record:
        await stream.execute(
            "SELECT argus.sample_log_end($1, $2, $3)", [pipeline.topic], [0], [end]
        )
        return await ledger(admin, pipeline)

    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()]))
    behind, level, truncated = await sample(5), await sample(2), await sample(1)
    assert (behind["in_flight"], behind["balanced"]) == (3, False)
    assert (level["in_flight"], level["balanced"]) == (0, True)
    assert (truncated["in_flight"], truncated["balanced"]) == (-1, False)


async def known(
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    asked: dict[UUID, datetime | None],
    rejects: bool = True,
) -> set[UUID]:
    rows = await stream.fetch(
        "SELECT id FROM argus.known_ids($1, $2, $3, $4) AS id",
        pipeline.topic,
        list(asked),
        list(asked.values()),
        rejects,
    )
    return {row["id"] for row in rows}


async def test_ids_of_rows_are_known_by_id_and_time(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event()
    await store(stream, Slice(pipeline.topic, 0, 0, [event]))
    assert await known(stream, pipeline, {event.id: event.time, uuid4(): event.time}) == {event.id}
    other_time = event.time + timedelta(seconds=1)
    assert await known(stream, pipeline, {event.id: other_time}) == set()
    assert await known(stream, pipeline, {event.id: None}) == set()


async def test_ids_without_a_time_are_known_within_the_dedupe_window(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    fresh = Event(by_id=True)
    stale = Event(by_id=True, received_at=now() - pipeline.dedupe_window - timedelta(minutes=1))
    await store(stream, Slice(pipeline.topic, 0, 0, [fresh, stale]))
    assert await known(stream, pipeline, {fresh.id: None, stale.id: None, uuid4(): None}) == {
        fresh.id
    }


async def test_ids_of_letters_are_known_within_the_dedupe_window(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    fresh, stale = uuid4(), uuid4()
    letters = [{"id": str(id_), "code": "too_old"} for id_ in (fresh, stale)]
    await store(stream, Slice(pipeline.topic, 0, 0, letters=letters))
    await admin.execute(
        "UPDATE argus.dead_letters SET at = at - $2::interval WHERE id = $1",
        stale,
        pipeline.dedupe_window,
    )
    assert await known(stream, pipeline, {fresh: None, stale: None}) == {fresh}


async def test_letters_of_what_the_edge_refused_are_known_only_where_they_are_asked_for(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    refused, taken = uuid4(), uuid4()
    letters = [
        {"id": str(refused), "code": "invalid_event", "step": "ingest"},
        {"id": str(taken), "code": "too_old", "step": "decode"},
    ]
    await store(stream, Slice(pipeline.topic, 0, 0, letters=letters))
    asked: dict[UUID, datetime | None] = {refused: None, taken: None}
    assert await known(stream, pipeline, asked, rejects=True) == {refused, taken}
    assert await known(stream, pipeline, asked, rejects=False) == {taken}


async def test_ids_of_another_pipeline_are_not_known(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event, letter = Event(), uuid4()
    await store(
        stream,
        Slice(pipeline.topic, 0, 0, [event], [{"id": str(letter), "code": "too_old"}]),
    )
    other = new_pipeline()
    await ensure_tenant(admin, other)
    await ensure_pipeline(admin, other)
    assert await known(stream, other, {event.id: event.time, letter: None}) == set()


async def beat(connection: asyncpg.Connection, member: UUID, ttl: timedelta) -> set[UUID]:
    rows = await connection.fetch("SELECT id FROM argus.heartbeat($1, $2) AS id", member, ttl)
    return {row["id"] for row in rows}


async def test_members_see_each_other_until_one_leaves_or_falls_silent(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    await admin.execute("DELETE FROM argus.members")
    ttl = timedelta(seconds=10)
    one, two, silent = uuid4(), uuid4(), uuid4()
    assert await beat(stream, one, ttl) == {one}
    assert await beat(stream, two, ttl) == {one, two}
    assert await beat(stream, silent, ttl) == {one, two, silent}
    await stream.execute("SELECT argus.leave($1)", two)
    await admin.execute(
        "UPDATE argus.members SET heartbeat_at = heartbeat_at - $2::interval WHERE id = $1",
        silent,
        ttl,
    )
    assert await beat(stream, one, ttl) == {one}
    assert await beat(stream, silent, ttl) == {one, silent}, "it speaks again"


async def test_rows_of_the_long_dead_are_cleared_away(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    dead, ttl = uuid4(), timedelta(seconds=1)
    await beat(stream, dead, ttl)
    await admin.execute(
        "UPDATE argus.members SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = $1",
        dead,
    )
    await beat(stream, uuid4(), ttl)
    assert await admin.fetchval("SELECT count(*) FROM argus.members WHERE id = $1", dead) == 0
