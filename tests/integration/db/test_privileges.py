"""Who may do what: each right that must be there, and each that must not."""

import asyncpg
import pytest

from tests.integration.db.support import (
    PASSWORD,
    Connect,
    Event,
    Pipeline,
    Slice,
    count,
    ensure,
    new_pipeline,
    staging,
    store,
)

PUBLIC_TO_STREAM = {
    "create_staging",
    "halt_partition",
    "heartbeat",
    "known_ids",
    "leave",
    "live_window",
    "open_partition",
    "outbox_after",
    "outbox_page",
    "rehearse",
    "report_states",
    "sample",
    "sample_log_end",
    "settled_replays",
    "store",
}


async def denied(connection: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)


@pytest.fixture
async def filled(stream: asyncpg.Connection, pipeline: Pipeline) -> Pipeline:
    """A pipeline with a row and a letter."""
    letter = {"id": None, "code": "invalid_json", "root": f"{pipeline.topic}/0/0", "attempt": 2}
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(by_id=True)], [letter]))
    await stream.execute(
        "SELECT argus.report_states($1, '{0}', '{open}', '{NULL}')", [pipeline.topic]
    )
    return pipeline


async def functions_of(admin: asyncpg.Connection, role: str) -> set[str]:
    rows = await admin.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'argus'::regnamespace"
        " AND has_function_privilege($1, oid, 'EXECUTE')",
        role,
    )
    return {row["proname"] for row in rows}


async def test_the_stream_may_call_what_it_needs_and_nothing_else(
    admin: asyncpg.Connection,
) -> None:
    assert await functions_of(admin, "argus_stream") == PUBLIC_TO_STREAM


async def test_the_reader_may_call_only_what_the_views_call(admin: asyncpg.Connection) -> None:
    assert await functions_of(admin, "argus_reader") == {"count_rows"}


async def test_what_runs_with_its_owners_rights_has_a_fixed_search_path(
    admin: asyncpg.Connection,
) -> None:
    rows = await admin.fetch(
        "SELECT proname, proconfig FROM pg_proc"
        " WHERE pronamespace = 'argus'::regnamespace AND prosecdef"
    )
    assert {row["proname"] for row in rows} == PUBLIC_TO_STREAM - {"rehearse"}
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in (row["proconfig"] or []), row["proname"]


async def test_the_stream_touches_no_table(stream: asyncpg.Connection, filled: Pipeline) -> None:
    for table in (
        *(filled.events, filled.rollup, filled.ids, "argus.offsets", "argus.tenants"),
        *("argus.replays", "argus.letter_counts", "argus.partition_states"),
    ):
        await denied(stream, f"SELECT FROM {table}")
        await denied(stream, f"DELETE FROM {table}")
    await denied(stream, f"DROP SCHEMA {filled.schema} CASCADE")
    await denied(stream, "CREATE TABLE argus.mine ()")


async def test_the_stream_may_only_fill_its_staging_table(stream: asyncpg.Connection) -> None:
    await denied(
        stream,
        "CREATE TRIGGER mine BEFORE INSERT ON pg_temp.staged FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    )
    await denied(stream, "ALTER TABLE pg_temp.staged ADD COLUMN mine integer")
    await denied(stream, "DROP TABLE pg_temp.staged")


@pytest.mark.parametrize(
    "forgery",
    [
        "CREATE TEMPORARY TABLE staged (slice integer)",
        "CREATE TEMPORARY VIEW staged AS SELECT 1 AS slice",
    ],
)
async def test_a_staging_of_the_streams_own_is_not_trusted(
    connect_as: Connect, pipeline: Pipeline, forgery: str
) -> None:
    """It could run code of its maker with the rights of the schema's owner."""
    forger = await connect_as("argus_stream")
    await forger.execute(forgery)
    await denied(forger, "SELECT argus.create_staging()")
    await denied(
        forger,
        "SELECT * FROM argus.store("
        f"ARRAY['{pipeline.topic}'], '{{0}}', '{{0}}', '{{1}}', '{{1}}', '{{0}}', '{{0}}', '[]')",
    )


async def test_the_reader_reads_everything_and_changes_nothing(
    connect_as: Connect, filled: Pipeline
) -> None:
    reader = await connect_as("argus_reader")
    for view in ("argus.ledger", "argus.audit", "argus.pipeline_ledger"):
        assert await count(reader, view) >= 1, view
    for table in (
        *(filled.events, filled.rollup, filled.ids),
        *("argus.dead_letters", "argus.outbox", "argus.migrations", "argus.pipelines"),
        *("argus.replays", "argus.letter_counts", "argus.partition_states"),
    ):
        assert await count(reader, table) >= 1, table
        await denied(reader, f"DELETE FROM {table}")
    await denied(reader, f"SELECT argus.drop_pipeline('{filled.uid}')")


async def test_a_tenants_role_sees_its_schema_and_no_other(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    connect_as: Connect,
    filled: Pipeline,
) -> None:
    neighbour = new_pipeline()
    await ensure(admin, neighbour)
    await store(stream, Slice(neighbour.topic, 0, 0, [Event()]))
    login = f"it_{filled.uid8}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {filled.role}")
    person = await connect_as(login)
    for table in (filled.events, filled.rollup, filled.ids):
        assert await count(person, table) == 1
        await denied(person, f"DELETE FROM {table}")
    for table in (neighbour.events, neighbour.rollup, "argus.ledger", "argus.pipeline_ledger"):
        await denied(person, f"SELECT FROM {table}")
    chunk = await admin.fetchval("SELECT c::text FROM show_chunks($1) c", neighbour.events)
    await denied(person, f"SELECT FROM {chunk}")
    await denied(person, "SELECT argus.create_staging()")
    await person.close()
    await admin.execute(f"DROP ROLE {login}")


async def test_anybody_else_sees_nothing(
    admin: asyncpg.Connection, connect_as: Connect, filled: Pipeline
) -> None:
    login = f"it_{filled.uid8}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'")
    stranger = await connect_as(login)
    for table in (filled.events, "argus.offsets", "argus.ledger"):
        await denied(stranger, f"SELECT FROM {table}")
    assert await functions_of(admin, login) == set()
    await stranger.close()
    await admin.execute(f"DROP ROLE {login}")


async def test_passwords_are_set_and_rights_repaired(
    admin: asyncpg.Connection, connect_as: Connect
) -> None:
    await admin.execute("REVOKE ALL ON SCHEMA argus FROM argus_stream")
    await admin.execute("GRANT SELECT ON argus.offsets TO argus_stream")
    await admin.execute("SELECT argus.ensure_roles($1, $1)", PASSWORD)
    stream = await staging(connect_as)
    await denied(stream, "SELECT FROM argus.offsets")
