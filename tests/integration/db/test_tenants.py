"""Tenants and pipelines: made, repaired, kept, dropped; applying twice changes nothing."""

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta

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
    ensure_pipeline,
    ensure_tenant,
    new_pipeline,
    sibling,
    store,
)

CONFLICT = "AR409"
ABSENT = "AR404"


async def observed(admin: asyncpg.Connection, uid: str) -> dict[str, object]:
    row = await admin.fetchrow("SELECT * FROM argus.observe_pipeline($1)", uid)
    assert row is not None
    return dict(row)


async def catalog(admin: asyncpg.Connection, pipeline: Pipeline) -> list[asyncpg.Record]:
    """Every catalogue row of the tenant's tables, with the transaction that wrote it."""
    return await admin.fetch(
        """
        SELECT c.xmin::text, c.relname, c.relacl::text, (
            SELECT array_agg(con.xmin::text || con.conname::text ORDER BY con.conname)
            FROM pg_constraint con WHERE con.conrelid = c.oid
        )
        FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace
        ORDER BY c.relname
        """,
        pipeline.schema,
    )


async def refusal(call: Awaitable[object]) -> str | None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await call
    return caught.value.sqlstate


async def test_a_pipeline_is_observed_as_it_was_asked_for(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    assert await observed(admin, pipeline.uid) == {
        "schema_name": pipeline.schema,
        "events_table": "events_web_app",
        "rollup_table": "rollup_web_app",
        "ids_table": "ids_web_app",
        "role_name": pipeline.role,
        "chunk_interval": pipeline.chunk_interval,
        "retention": pipeline.retention,
        "dedupe_window": pipeline.dedupe_window,
        "partitions": pipeline.partitions,
        "retained": False,
    }


async def test_what_is_not_there_is_observed_as_nulls(admin: asyncpg.Connection) -> None:
    found = await observed(admin, "no-such-uid")
    assert found.pop("retained") is False
    assert set(found.values()) == {None}


async def test_applying_twice_changes_nothing(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    before = await catalog(admin, pipeline)
    await ensure(admin, pipeline)
    assert await catalog(admin, pipeline) == before


async def test_applying_again_waits_for_no_reader_and_no_batch(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    connect_as: Connect,
    pipeline: Pipeline,
) -> None:
    reader = await connect_as(None)
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(by_id=True)]))
    async with reader.transaction():
        for table in (pipeline.events, pipeline.rollup, pipeline.ids):
            await reader.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        await admin.execute("SET lock_timeout = '2s'")
        await ensure(admin, pipeline)


async def test_changed_intervals_are_applied(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    changed = replace(
        pipeline,
        chunk_interval=timedelta(hours=6),
        retention=timedelta(days=7),
        dedupe_window=timedelta(hours=2),
        partitions=8,
    )
    await ensure_pipeline(admin, changed)
    found = await observed(admin, pipeline.uid)
    assert found["chunk_interval"] == timedelta(hours=6)
    assert found["retention"] == timedelta(days=7)
    assert found["dedupe_window"] == timedelta(hours=2)
    assert found["partitions"] == 8


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE {p.events}",
        "DROP TABLE {p.rollup}",
        "DROP TABLE {p.ids}",
        "DROP SCHEMA {p.schema} CASCADE",
        "ALTER TABLE {p.events} DROP CONSTRAINT events_web_app_pkey",
        "ALTER TABLE {p.rollup} DROP CONSTRAINT rollup_web_app_pkey",
        "ALTER TABLE {p.events} DROP COLUMN session_id",
        "REVOKE ALL ON {p.events} FROM {p.role}",
        "REVOKE ALL ON SCHEMA {p.schema} FROM {p.role}",
        "REVOKE {p.role} FROM argus_reader",
        "DROP OWNED BY {p.role}; DROP ROLE {p.role}",
        "SELECT set_chunk_time_interval('{p.events}', interval '5 days')",
        "DROP INDEX {p.schema}.ids_web_app_{p.uid8}_age",
        "DROP TABLE {p.events}; CREATE TABLE {p.events} (time timestamptz NOT NULL)",
    ],
)
async def test_drift_is_repaired(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    connect_as: Connect,
    pipeline: Pipeline,
    damage: str,
) -> None:
    await admin.execute(damage.format(p=pipeline))
    await ensure(admin, pipeline)
    intact = await observed(admin, pipeline.uid)
    assert None not in intact.values()
    assert intact["chunk_interval"] == pipeline.chunk_interval

    event = Event(by_id=True)
    await store(stream, Slice(pipeline.topic, 0, 0, [event, event]))
    reader = await connect_as("argus_reader")
    assert await count(reader, pipeline.events) == 1
    index = f"{pipeline.schema}.ids_web_app_{pipeline.uid8}_age"
    assert await admin.fetchval("SELECT to_regclass($1)", index) is not None
    assert await reader.fetchval(f"SELECT sum(count) FROM {pipeline.rollup}") == 1


async def test_how_long_letters_stay_is_what_was_said_last(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def kept() -> timedelta:
        found = await admin.fetchval(
            "SELECT dead_letter_retention FROM argus.pipelines WHERE pipeline_uid = $1",
            pipeline.uid,
        )
        assert isinstance(found, timedelta)
        return found

    assert await kept() == timedelta(days=365)
    await ensure_pipeline(admin, replace(pipeline, dead_letter_retention=timedelta(days=3)))
    await ensure_pipeline(admin, pipeline)
    assert await kept() == timedelta(days=3)


async def test_a_name_that_another_pipeline_holds_is_refused(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    rival = sibling(pipeline, pipeline.name)
    assert await refusal(ensure_pipeline(admin, rival)) == CONFLICT
    stolen = replace(sibling(pipeline, "other"), topic=pipeline.topic)
    assert await refusal(ensure_pipeline(admin, stolen)) == CONFLICT
    renamed = replace(pipeline, name="renamed")
    assert await refusal(ensure_pipeline(admin, renamed)) == CONFLICT
    assert (await observed(admin, pipeline.uid))["events_table"] == "events_web_app"


async def test_a_schema_that_another_tenant_holds_is_refused(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    rival = replace(new_pipeline(), schema=pipeline.schema)
    assert await refusal(ensure_tenant(admin, rival)) == CONFLICT


async def test_a_pipeline_without_its_tenant_is_refused(admin: asyncpg.Connection) -> None:
    assert await refusal(ensure_pipeline(admin, new_pipeline())) == ABSENT


async def test_a_retained_pipeline_keeps_its_rows_and_frees_its_name(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()]))
    for _ in range(2):
        await admin.execute("SELECT argus.retain_pipeline($1)", pipeline.uid)
    kept = f"{pipeline.events}_{pipeline.uid8}"
    assert await count(admin, kept) == 2
    found = await observed(admin, pipeline.uid)
    assert (found["retained"], found["events_table"]) == (True, kept.partition(".")[2])

    successor = sibling(pipeline, pipeline.name)
    await ensure(admin, successor)
    [outcome] = await store(stream, Slice(successor.topic, 0, 0, [Event()]))
    assert outcome.stored == 1
    assert (await audit(admin, successor))["rows"] == 1
    await admin.execute("SELECT argus.retain_pipeline($1)", successor.uid)
    assert await count(admin, kept) == 2


async def test_a_retained_pipeline_is_neither_read_nor_expired_nor_made_again(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    short = new_pipeline(retention=timedelta(days=1))
    await ensure(admin, short)
    old = Event(time=Event().time - timedelta(days=9))
    await store(stream, Slice(short.topic, 0, 0, [old]))
    await admin.execute("SELECT argus.retain_pipeline($1)", short.uid)
    assert await admin.fetchval("SELECT argus.expire($1)", short.uid) == 0
    assert await count(admin, f"{short.events}_{short.uid8}") == 1
    opening = stream.fetchval("SELECT argus.open_partition($1, 0, 0)", short.topic)
    assert await refusal(opening) == ABSENT
    assert await refusal(ensure_pipeline(admin, short)) == CONFLICT


@pytest.mark.parametrize("retained", [False, True])
async def test_a_dropped_pipeline_leaves_nothing(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline, retained: bool
) -> None:
    letter = {"id": None, "code": "invalid_json", "root": f"{pipeline.topic}/0/0", "attempt": 2}
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event(by_id=True)], [letter]))
    await stream.execute(
        "SELECT argus.report_states($1, '{0}', '{open}', '{NULL}')", [pipeline.topic]
    )
    if retained:
        await admin.execute("SELECT argus.retain_pipeline($1)", pipeline.uid)
    for _ in range(2):
        await admin.execute("SELECT argus.drop_pipeline($1)", pipeline.uid)
    tables = await admin.fetch("SELECT FROM pg_tables WHERE schemaname = $1", pipeline.schema)
    assert tables == []
    for table in (
        *("offsets", "outbox", "dead_letters", "pipelines"),
        *("replays", "letter_counts", "partition_states"),
    ):
        assert await count(admin, f"argus.{table} WHERE topic = '{pipeline.topic}'") == 0
    assert await count(admin, f"argus.event_names WHERE pipeline_uid = '{pipeline.uid}'") == 0


async def test_a_dropped_tenant_leaves_nothing(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    for _ in range(2):
        await admin.execute("SELECT argus.drop_tenant($1)", pipeline.tenant_id)
    assert await admin.fetchval("SELECT to_regnamespace($1)", pipeline.schema) is None
    assert await admin.fetchval("SELECT to_regrole($1)", pipeline.role) is None
    assert await count(admin, f"argus.tenants WHERE tenant_id = '{pipeline.tenant_id}'") == 0


async def test_a_retained_pipeline_survives_its_dropped_tenant(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    other = sibling(pipeline, "api")
    await ensure(admin, other)
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    await admin.execute("SELECT argus.retain_pipeline($1)", pipeline.uid)
    for _ in range(2):
        await admin.execute("SELECT argus.drop_tenant($1)", pipeline.tenant_id)
    assert await count(admin, f"{pipeline.events}_{pipeline.uid8}") == 1
    assert (await observed(admin, other.uid))["events_table"] is None


async def test_a_retained_tenant_keeps_its_pipelines(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    for _ in range(2):
        await admin.execute("SELECT argus.retain_tenant($1)", pipeline.tenant_id)
    assert await count(admin, f"{pipeline.events}_{pipeline.uid8}") == 1
    assert await refusal(ensure_tenant(admin, pipeline)) == CONFLICT


async def test_what_is_absent_can_be_retained_and_dropped(admin: asyncpg.Connection) -> None:
    for function in ("retain_pipeline", "drop_pipeline", "retain_tenant", "drop_tenant", "expire"):
        await admin.execute(f"SELECT argus.{function}($1)", "no-such-thing")


async def test_the_longest_names_fit(admin: asyncpg.Connection, stream: asyncpg.Connection) -> None:
    longest = new_pipeline()
    longest = replace(longest, name="p" * 40, schema=f"t_{'s' * 49}_{longest.tenant[-8:]}")
    assert len(longest.schema) == 60
    await ensure(admin, longest)
    await ensure(admin, longest)
    await store(stream, Slice(longest.topic, 0, 0, [Event(by_id=True)]))
    await admin.execute("SELECT argus.retain_pipeline($1)", longest.uid)
    assert await count(admin, f"{longest.events}_{longest.uid8}") == 1
    await admin.execute("SELECT argus.drop_pipeline($1)", longest.uid)
    await admin.execute("SELECT argus.drop_tenant($1)", longest.tenant_id)
    assert await admin.fetchval("SELECT to_regrole($1)", longest.role) is None
