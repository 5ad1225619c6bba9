"""Rows, minute rollups, live counters and the ledger describe the same set of events."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.db.support import (
    Connect,
    Event,
    Pipeline,
    Slice,
    audit,
    count,
    ensure,
    new_pipeline,
    staging,
    store,
    summed,
)

MOMENT = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)

events = st.builds(
    Event,
    id=st.integers(0, 12).map(lambda n: UUID(int=n)),
    time=st.integers(0, 8).map(lambda n: MOMENT + timedelta(seconds=20 * n)),
    received_at=st.integers(0, 5).map(lambda n: MOMENT + timedelta(seconds=600 + n)),
    by_id=st.booleans(),
    event=st.sampled_from(["page_view", "click", "api_latency"]),
    value=st.none() | st.floats(-1e6, 1e6),
    properties=st.just("{}"),
)
batches = st.lists(
    st.tuples(st.lists(events, min_size=1, max_size=12), st.lists(events, min_size=1, max_size=12)),
    min_size=1,
    max_size=5,
)


async def recomputed(admin: asyncpg.Connection, pipeline: Pipeline) -> dict[Any, Any]:
    rows = await admin.fetch(
        "SELECT date_trunc('minute', time, 'UTC') AS minute, event, count(*), sum(value),"
        f" min(value), max(value) FROM {pipeline.events} GROUP BY 1, 2"
    )
    return {(row["minute"], row["event"]): tuple(row)[2:] for row in rows}


async def rolled_up(admin: asyncpg.Connection, pipeline: Pipeline) -> dict[Any, Any]:
    rows = await admin.fetch(f"SELECT minute, event, count, sum, min, max FROM {pipeline.rollup}")
    return {(row["minute"], row["event"]): tuple(row)[2:] for row in rows}


def same_number(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=batches)
async def test_rollups_and_counters_equal_a_recomputation_from_the_rows(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    moves: list[tuple[list[Event], list[Event]]],
) -> None:
    pipeline = new_pipeline(partitions=2)
    await ensure(admin, pipeline)
    outcomes, position = [], [0, 0]
    for move in moves:
        parts = [Slice(pipeline.topic, p, position[p], move[p]) for p in (0, 1)]
        outcomes += await store(stream, *parts)
        position = [part.end for part in parts]

    expected, found = await recomputed(admin, pipeline), await rolled_up(admin, pipeline)
    assert found.keys() == expected.keys()
    for key, terms in expected.items():
        assert found[key][0] == terms[0]
        assert all(map(same_number, found[key][1:], terms[1:])), key

    by_second = await admin.fetch(
        "SELECT extract(epoch FROM date_trunc('second', received_at))::bigint::text AS second,"
        f" event, count(*) AS n FROM {pipeline.events} GROUP BY 1, 2"
    )
    assert summed(outcomes) == {(r["second"], r["event"]): r["n"] for r in by_second}
    assert sum(o.stored for o in outcomes) == await count(admin, pipeline.events)
    assert sum(o.stored + o.duplicate for o in outcomes) == sum(position)
    assert (await audit(admin, pipeline))["balanced"]


@pytest.fixture
async def crowded(admin: asyncpg.Connection, pipeline: Pipeline) -> Pipeline:
    """A pipeline that has room for two more names."""
    await admin.execute(
        "INSERT INTO argus.event_names SELECT $1, 'known-' || n FROM generate_series(1, 9998) n",
        pipeline.uid,
    )
    return pipeline


async def test_names_beyond_the_cap_are_counted_together_everywhere(
    admin: asyncpg.Connection, stream: asyncpg.Connection, crowded: Pipeline
) -> None:
    at = datetime.now(UTC)
    names = ["known-7", "first", "second", "third", "first", "fourth", "third"]
    [outcome] = await store(
        stream,
        Slice(crowded.topic, 0, 0, [Event(event=n, time=at, received_at=at) for n in names]),
    )
    expected = {"known-7": 1, "first": 2, "second": 1, "__other__": 3}
    assert outcome.deltas == {str(int(at.timestamp())): expected}
    rows = await admin.fetch(f"SELECT event, count(*) FROM {crowded.events} GROUP BY 1")
    assert {row["event"]: row["count"] for row in rows} == expected
    rollups = await admin.fetch(f"SELECT event, count FROM {crowded.rollup}")
    assert {row["event"]: row["count"] for row in rollups} == expected
    kept = await admin.fetchval(
        f"SELECT array_agg(original_event ORDER BY source_offset) FROM {crowded.events}"
    )
    assert kept == [None, None, None, "third", None, "fourth", "third"]
    assert await count(admin, f"argus.event_names WHERE pipeline_uid = '{crowded.uid}'") == 10_000


async def test_a_full_pipeline_still_stores_and_dedupes(
    stream: asyncpg.Connection, crowded: Pipeline
) -> None:
    events_ = [Event(event=f"new-{n}") for n in range(50)]
    await store(stream, Slice(crowded.topic, 0, 0, events_))
    [outcome] = await store(stream, Slice(crowded.topic, 0, 50, events_))
    assert (outcome.stored, outcome.duplicate) == (0, 50)


async def test_two_partitions_never_admit_more_names_than_the_cap(
    admin: asyncpg.Connection, connect_as: Connect, crowded: Pipeline
) -> None:
    async def worker(partition: int) -> None:
        connection = await staging(connect_as)
        for n in range(5):
            names = [f"p{partition}-{n}-{k}" for k in range(3)] + ["shared"]
            await store(
                connection,
                Slice(crowded.topic, partition, n * 4, [Event(event=name) for name in names]),
            )

    await asyncio.gather(*(worker(p) for p in range(4)))
    assert await count(admin, f"argus.event_names WHERE pipeline_uid = '{crowded.uid}'") == 10_000
    named = await admin.fetchval(
        f"SELECT count(*) FROM {crowded.events} e WHERE event <> '__other__' AND NOT EXISTS ("
        "SELECT FROM argus.event_names n WHERE n.pipeline_uid = $1 AND n.event = e.event)",
        crowded.uid,
    )
    assert named == 0
    assert await admin.fetchval(f"SELECT sum(count) FROM {crowded.rollup}") == 80
