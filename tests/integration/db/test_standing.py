"""What people see of a partition that stands still: its state, its lag, its oldest record."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.integration.db.support import (
    DOES_NOT_ADD_UP,
    Connect,
    Event,
    Pipeline,
    Slice,
    count,
    ensure_pipeline,
    ensure_tenant,
    ledger,
    new_pipeline,
    now,
    pipeline_ledger,
    refused,
    sample,
    staging,
    store,
)

MINUTE = timedelta(minutes=1)


async def report(
    stream: asyncpg.Connection, pipeline: Pipeline, *states: str | None, reason: str | None = None
) -> None:
    await stream.execute(
        "SELECT argus.report_states($1, $2, $3, $4)",
        [pipeline.topic] * len(states),
        list(range(len(states))),
        list(states),
        [reason and f"{reason} {state}" for state in states],
    )


async def standing(admin: asyncpg.Connection, pipeline: Pipeline) -> tuple[str | None, str | None]:
    row = await pipeline_ledger(admin, pipeline)
    return row["state"], row["reason"]


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["open", "open", "open", "open"], ("open", "is open")),
        (["open", "paused", "open", "open"], ("paused", "is paused")),
        (["open", "paused", "guarded", "open"], ("guarded", "is guarded")),
        (["guarded", "stopped", "paused", "open"], ("stopped", "is stopped")),
        (["open", "open", "open"], (None, None)),
        (["open", "open", "paused"], ("paused", "is paused")),
        ([], (None, None)),
    ],
)
async def test_a_pipeline_is_in_the_worst_state_of_its_partitions(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    states: list[str],
    worst: tuple[str | None, str | None],
) -> None:
    await report(stream, pipeline, *states, reason="is")
    assert await standing(admin, pipeline) == worst


async def test_a_partition_that_was_never_opened_is_read_by_nobody(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    fresh = new_pipeline(partitions=2)
    await ensure_tenant(admin, fresh)
    await ensure_pipeline(admin, fresh)
    await stream.execute("SELECT argus.open_partition($1, 0, 0)", fresh.topic)
    await report(stream, fresh, "open", "open")
    assert await standing(admin, fresh) == (None, None)
    await stream.execute("SELECT argus.open_partition($1, 1, 0)", fresh.topic)
    await report(stream, fresh, "open", "open")
    assert await standing(admin, fresh) == ("open", None)


async def test_since_when_is_kept_while_the_state_is_the_same(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def row() -> asyncpg.Record:
        found = await admin.fetchrow(
            "SELECT * FROM argus.partition_states WHERE topic = $1", pipeline.topic
        )
        assert found is not None
        return found

    await report(stream, pipeline, "paused", reason="first")
    first = await row()
    await report(stream, pipeline, "paused", reason="second")
    second = await row()
    await report(stream, pipeline, "open")
    third = await row()
    assert (second["since"], second["reason"]) == (first["since"], "second paused")
    assert second["reported_at"] > first["reported_at"]
    assert third["since"] == third["reported_at"] > second["reported_at"]
    assert third["reason"] is None


async def test_a_state_that_is_not_repeated_is_not_shown_after_a_minute(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await report(stream, pipeline, "stopped", "open", "open", "open")
    assert (await ledger(admin, pipeline))["state"] == "stopped"
    await admin.execute(
        "UPDATE argus.partition_states SET reported_at = reported_at - interval '1 minute'"
        " WHERE topic = $1",
        pipeline.topic,
    )
    assert (await ledger(admin, pipeline))["state"] is None
    assert await standing(admin, pipeline) == (None, None)


@pytest.mark.parametrize(
    "states", [["closed"], ["OPEN"], [""], [None], ["open", "closed"], None], ids=str
)
async def test_an_unknown_state_is_refused_as_the_callers_mistake(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline, states: Any
) -> None:
    topics = [pipeline.topic] * len(states or [""])
    call = stream.execute(
        "SELECT argus.report_states($1, $2, $3, $4)",
        topics,
        list(range(len(topics))),
        states,
        [None] * len(topics),
    )
    assert (await refused(call)).sqlstate == DOES_NOT_ADD_UP
    assert (await ledger(admin, pipeline))["state"] is None


async def test_states_of_unknown_partitions_change_nothing(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    before = await count(admin, "argus.partition_states")
    await stream.execute(
        "SELECT argus.report_states($1, $2, $3, $4)",
        ["no.such.topic", pipeline.topic, None, pipeline.topic, pipeline.topic],
        [0, 99, 0, 1, 1],
        ["open"] * 5,
        [None] * 5,
    )
    assert await count(admin, "argus.partition_states") == before + 1
    assert (await ledger(admin, pipeline, 1))["state"] == "open"


async def test_a_sample_older_than_a_batch_makes_nothing_negative(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()]))
    await sample(stream, pipeline, 1, now())
    row = await ledger(admin, pipeline)
    assert (row["log_end"], row["in_flight"], row["oldest_unread_at"]) == (2, 0, None)
    assert row["balanced"]
    await sample(stream, pipeline, 9)
    assert (await ledger(admin, pipeline))["in_flight"] == 7
    await sample(stream, pipeline, 5)
    assert (await ledger(admin, pipeline))["in_flight"] == 3, "what Kafka said last"


async def test_an_end_that_is_not_known_is_not_taken_for_none(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await sample(stream, pipeline, 7)
    await sample(stream, pipeline, None)
    assert (await ledger(admin, pipeline))["in_flight"] == 7


async def oldest(admin: asyncpg.Connection, pipeline: Pipeline) -> datetime | None:
    found: datetime | None = (await ledger(admin, pipeline))["oldest_unread_at"]
    assert (await pipeline_ledger(admin, pipeline))["oldest_unread_at"] == found
    return found


async def test_the_oldest_unread_record_is_followed(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    told = now() - 5 * MINUTE
    assert await oldest(admin, pipeline) is None
    await sample(stream, pipeline, 9, told)
    assert await oldest(admin, pipeline) == told
    await sample(stream, pipeline, 11)
    assert await oldest(admin, pipeline) == told, "it has not moved"

    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    assert await oldest(admin, pipeline) == told, "as it was last sampled"
    await sample(stream, pipeline, 11)
    seen = await oldest(admin, pipeline)
    assert seen is not None
    assert seen > told + 4 * MINUTE, "another record, seen now for the first time"
    await sample(stream, pipeline, 12)
    assert await oldest(admin, pipeline) == seen
    await sample(stream, pipeline, 12, told + MINUTE)
    assert await oldest(admin, pipeline) == told + MINUTE, "the stream has read it"

    await store(stream, Slice(pipeline.topic, 0, 1, [Event() for _ in range(11)]))
    assert await oldest(admin, pipeline) is None, "no record is unread"
    await sample(stream, pipeline, 12)
    await sample(stream, pipeline, 13)
    again = await oldest(admin, pipeline)
    assert again is not None
    assert again > seen


async def test_a_sample_says_when_and_writes_no_more_than_it_must(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def version() -> str:
        found = await admin.fetchval(
            "SELECT xmin::text FROM argus.offsets WHERE topic = $1 AND partition = 0",
            pipeline.topic,
        )
        return str(found)

    assert (await ledger(admin, pipeline))["sampled_at"] is None
    await sample(stream, pipeline, 3)
    first = await version()
    assert now() - (await ledger(admin, pipeline))["sampled_at"] < MINUTE
    await sample(stream, pipeline, 3)
    assert await version() == first
    await admin.execute(
        "UPDATE argus.offsets SET sampled_at = now() - interval '6 seconds' WHERE topic = $1",
        pipeline.topic,
    )
    await sample(stream, pipeline, 3)
    assert now() - (await ledger(admin, pipeline))["sampled_at"] < timedelta(seconds=5)
    await sample(stream, pipeline, 4)
    assert (await ledger(admin, pipeline))["log_end"] == 4


async def test_samples_of_unknown_partitions_change_nothing(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await stream.execute(
        "SELECT argus.sample($1, $2, $3, $4)",
        ["no.such.topic", pipeline.topic, pipeline.topic],
        [0, 99, 1],
        [5, 5, 5],
        [None],
    )
    assert (await ledger(admin, pipeline, 1))["in_flight"] == 5
    assert (await pipeline_ledger(admin, pipeline))["in_flight"] == 5


async def test_batches_and_samples_at_once_are_never_ahead_of_each_other(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    """The sampler knows the end of before; what is shown is never below zero nor without an age."""
    sampler, connection = await connect_as("argus_stream"), await staging(connect_as)
    position = 0

    async def batches() -> None:
        nonlocal position
        for start in range(60):
            await store(connection, Slice(pipeline.topic, 0, start, [Event()]))
            position = start + 1

    async def samples() -> None:
        while position < 60:
            await sample(sampler, pipeline, position + 1, None)
            row = await ledger(admin, pipeline)
            assert row["in_flight"] >= 0
            assert (row["oldest_unread_at"] is None) == (row["in_flight"] == 0)

    await asyncio.gather(batches(), samples())
    assert (await ledger(admin, pipeline))["stored"] == 60


async def test_the_last_event_is_the_latest_receipt_of_a_stored_row(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def last() -> datetime | None:
        found: datetime | None = (await pipeline_ledger(admin, pipeline))["last_event_at"]
        return found

    newest = now().replace(microsecond=0)
    duplicate = Event(received_at=newest - 9 * MINUTE)
    events = [Event(received_at=newest - n * MINUTE) for n in (5, 2, 7)]
    assert await last() is None
    await store(stream, Slice(pipeline.topic, 0, 0, [*events, duplicate]))
    assert await last() == newest - 2 * MINUTE
    again = Event(duplicate.id, duplicate.time, received_at=newest)
    await store(stream, Slice(pipeline.topic, 0, 4, [again], [{"id": None, "code": "refused"}]))
    assert await last() == newest - 2 * MINUTE, "nothing was stored"
    late = [Event(received_at=newest - MINUTE + timedelta(microseconds=999_999))]
    await store(stream, Slice(pipeline.topic, 1, 0, late))
    assert await last() == newest - MINUTE, "to the second"
    await store(stream, Slice(pipeline.topic, 1, 1, [Event(received_at=newest - 8 * MINUTE)]))
    assert (await ledger(admin, pipeline, 1))["last_event_at"] == newest - MINUTE
