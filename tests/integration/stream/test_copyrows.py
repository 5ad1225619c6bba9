"""The COPY encoder against PostgreSQL itself: what it is given is what a query gives back."""

import asyncio
import json
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
from argus_contract.times import from_micros, to_micros
from argus_stream import copyrows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TABLE = """CREATE TEMPORARY TABLE staged (slice int, source_offset bigint, id uuid,
time timestamptz, received_at timestamptz, by_id boolean, event text, distinct_id text,
session_id text, value float8, properties jsonb)"""

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda moment: to_micros(moment.replace(tzinfo=from_micros(0).tzinfo))
)
properties = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
rows = st.tuples(
    st.integers(0, 2**63 - 1),
    st.uuids(),
    times,
    times,
    st.booleans(),
    text,
    st.none() | text,
    st.none() | text,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.dictionaries(text, properties, max_size=3),
)
Row = tuple[int, UUID, int, int, bool, str, str | None, str | None, float | None, Any]


def encoded(row: Row) -> bytes:
    offset, id_, time, received, by_id, event, distinct, session, value, props = row
    return copyrows.row(
        offset,
        id_.bytes,
        time,
        received,
        by_id,
        event,
        distinct,
        session,
        value,
        None if props is None else json.dumps(props).encode(),
    )


def decoded(row: asyncpg.Record) -> Row:
    offset, id_, time, received, by_id, event, distinct, session, value, props = list(row)[1:]
    return (
        offset,
        UUID(int=id_.int),
        to_micros(time),
        to_micros(received),
        by_id,
        event,
        distinct,
        session,
        value,
        None if props is None else json.loads(props),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=st.lists(st.lists(rows, max_size=5), min_size=1, max_size=3))
def test_postgresql_reads_what_was_written(database: str, found: list[list[Row]]) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database)
        try:
            await connection.execute(TABLE)
            data = copyrows.copy_data([[encoded(row) for row in piece] for piece in found])
            await connection.copy_to_table(
                "staged",
                schema_name="pg_temp",
                source=cast("Any", data),
                columns=copyrows.COLUMNS,
                format="binary",
            )
            read = await connection.fetch("SELECT * FROM pg_temp.staged")
        finally:
            await connection.close()
        assert [row[0] for row in read] == [n for n, piece in enumerate(found, 1) for _ in piece]
        assert [decoded(row) for row in read] == [row for piece in found for row in piece]

    asyncio.run(run())


async def test_what_screening_lets_through_jsonb_takes(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        for number in ("1e131071", "1e-16383", "1" * 131_072, "-0.0", "1.50e3"):
            assert await connection.fetchval("SELECT $1::jsonb IS NOT NULL", number)
    finally:
        await connection.close()
