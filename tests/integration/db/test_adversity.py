"""Data that PostgreSQL cannot hold is refused as such; whatever it can hold never stops a batch."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from tests.integration.db.support import (
    Event,
    Pipeline,
    Slice,
    audit,
    count,
    ledger,
    store,
)


@pytest.mark.parametrize(
    ("fields", "sqlstate"),
    [
        ({"properties": '{"a": "\\u0000"}'}, "22P05"),
        ({"properties": '{"\\u0000": 1}'}, "22P05"),
        ({"properties": '{"a": "\\ud800"}'}, "22P02"),
        ({"properties": '{"a": 1e200000}'}, "22003"),
        ({"properties": '{"a": NaN}'}, "22P02"),
        ({"properties": '{"a":'}, "22P02"),
        ({"event": "a\0b"}, "22021"),
        ({"distinct_id": "a\0b"}, "22021"),
        ({"event": ""}, "23514"),
        ({"event": "x" * 5000}, "23514"),
        ({"event": None}, "23502"),
        ({"value": float("nan")}, "23514"),
        ({"value": float("inf")}, "23514"),
        ({"value": float("-inf")}, "23514"),
        ({"time": datetime(1, 1, 1, tzinfo=UTC)}, "22008"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:30],
)
async def test_a_row_that_cannot_be_held_is_refused_as_bad_data(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    fields: dict[str, Any],
    sqlstate: str,
) -> None:
    bad = Event(**fields)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await store(stream, Slice(pipeline.topic, 0, 0, [Event(), bad, Event()]))
    assert caught.value.sqlstate == sqlstate
    assert await count(admin, pipeline.events) == 0
    assert (await ledger(admin, pipeline))["next_offset"] == 0

    await stream.execute("SELECT argus.create_staging()")
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    await store(stream, Slice(pipeline.topic, 0, 1, letters=[{"id": None, "code": "refused"}]))
    await store(stream, Slice(pipeline.topic, 0, 2, [Event()]))
    assert (await audit(admin, pipeline))["balanced"]


async def test_nesting_beyond_the_stack_is_no_bad_data_to_postgresql(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    """Class 54: the stream has to refuse such nesting itself, far below this depth."""
    deep = Event(properties="[" * 100_000 + "]" * 100_000)
    with pytest.raises(asyncpg.StatementTooComplexError):
        await store(stream, Slice(pipeline.topic, 0, 0, [deep]))


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 1.7e308},
        {"value": -1.7e308},
        {"value": 5e-324},
        {"properties": '{"a": 1, "a": 2}'},
        {"properties": "[" * 100 + "]" * 100},
        {"properties": None},
        {"properties": '"text"'},
        {"properties": '{"a": "' + "x" * 1_000_000 + '"}'},
        {"properties": '{"a": 1e400}'},
        {"distinct_id": "d" * 1_000_000},
        {"event": "\U0001f389" * 200},
        {"event": "'; DROP TABLE argus.offsets; --"},
        {"event": "__other__"},
        {"time": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_row_that_can_be_held_never_stops_a_batch(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    fields: dict[str, Any],
) -> None:
    for start in (0, 3):
        events = [Event(**fields) for _ in range(3)]
        [outcome] = await store(stream, Slice(pipeline.topic, 0, start, events))
        assert outcome.stored == 3
    assert await admin.fetchval(f"SELECT sum(count) FROM {pipeline.rollup}") == 6
    assert (await audit(admin, pipeline))["balanced"]


async def test_a_sum_outside_float8_is_infinite_and_later_ones_still_count(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for offset, value in enumerate([1.7e308, 1.7e308, 1.0]):
        await store(stream, Slice(pipeline.topic, 0, offset, [Event(time=moment, value=value)]))
    row = await admin.fetchrow(f"SELECT count, sum, min, max FROM {pipeline.rollup}")
    assert row is not None
    assert tuple(row) == (3, float("inf"), 1.0, 1.7e308)


async def test_a_name_of_a_letter_that_json_cannot_carry_is_refused_whole(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    """The stream must not hand over NUL in a letter; nothing is stored where it does."""
    letter = {"id": None, "code": "unstorable", "event": "a\0b"}
    with pytest.raises(asyncpg.UntranslatableCharacterError):
        await store(stream, Slice(pipeline.topic, 0, 0, [Event()], [letter]))
    assert await count(admin, pipeline.events) == 0
