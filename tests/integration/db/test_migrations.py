"""The migrator: once, in order, all or nothing, by several at once."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from argus_operator.adapters import migrations
from argus_operator.adapters.migrations import migrate
from argus_operator.errors import RefusedError, UnavailableError
from argus_runtime import assets

from tests.integration.db.support import (
    PASSWORD,
    Event,
    Slice,
    as_role,
    audit,
    ensure,
    new_pipeline,
    store,
    with_database,
)

TIMEOUT_S = 60


@pytest.fixture
async def connection(empty: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to an empty database."""
    opened = await asyncpg.connect(empty)
    yield opened
    await opened.close()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the release's db/, to make another release of."""
    return shutil.copytree(assets.path("db"), tmp_path / "db")


def numbered(directory: Path) -> list[Path]:
    return sorted((directory / "migrations").glob("*.sql"))


async def history(connection: asyncpg.Connection) -> list[tuple[int, str]]:
    rows = await connection.fetch("SELECT version, checksum FROM argus.migrations ORDER BY 1")
    return [(row["version"], row["checksum"]) for row in rows]


async def test_everything_is_applied_once(connection: asyncpg.Connection, release: Path) -> None:
    first = await migrate(connection, TIMEOUT_S, release)
    applied = await history(connection)
    second = await migrate(connection, TIMEOUT_S, release)
    names = tuple(file.stem.partition("_")[2] for file in numbered(release))
    assert first.applied == (*names, "routines")
    assert second.applied == ()
    assert [version for version, _ in applied] == list(range(len(names) + 1))
    assert await history(connection) == applied


async def test_two_at_once_are_one_after_the_other(empty: str) -> None:
    connections = [await asyncpg.connect(empty) for _ in range(2)]
    outcomes = await asyncio.gather(*(migrate(one, TIMEOUT_S) for one in connections))
    for one in connections:
        await one.close()
    applied = sorted(outcomes, key=lambda outcome: len(outcome.applied))
    assert applied[0].applied == ()
    assert applied[1].applied[-1] == "routines"


async def test_a_migration_that_changed_is_refused(
    connection: asyncpg.Connection, release: Path
) -> None:
    await migrate(connection, TIMEOUT_S, release)
    before = await history(connection)
    changed = numbered(release)[1]
    changed.write_text(changed.read_text() + "\n-- another comment\n")
    (release / "routines" / "99_more.sql").write_text("CREATE TABLE argus.sneaky ();")
    with pytest.raises(RefusedError, match=changed.stem) as caught:
        await migrate(connection, TIMEOUT_S, release)
    assert caught.value.reason == "MigrationChanged"
    assert await history(connection) == before
    assert await connection.fetchval("SELECT to_regclass('argus.sneaky')") is None


async def test_a_failure_half_way_leaves_the_database_as_it_was(
    connection: asyncpg.Connection, release: Path
) -> None:
    await migrate(connection, TIMEOUT_S, release)
    before = await history(connection)
    following = len(numbered(release)) + 1
    (release / "migrations" / f"{following:04}_good.sql").write_text("CREATE TABLE argus.good ();")
    (release / "migrations" / f"{following + 1:04}_bad.sql").write_text(
        "CREATE TABLE argus.half ();\nSELECT 1 / 0;"
    )
    with pytest.raises(UnavailableError, match="bad: division by zero"):
        await migrate(connection, TIMEOUT_S, release)
    assert await history(connection) == before
    assert await connection.fetchval("SELECT to_regclass('argus.good')") is None
    assert await connection.fetchval("SELECT to_regclass('argus.half')") is None


async def test_a_failure_in_an_empty_database_leaves_it_empty(
    connection: asyncpg.Connection, release: Path
) -> None:
    (release / "routines" / "99_bad.sql").write_text("SELECT 1 / 0;")
    with pytest.raises(UnavailableError, match="routines"):
        await migrate(connection, TIMEOUT_S, release)
    assert await connection.fetchval("SELECT to_regnamespace('argus')") is None


async def test_routines_are_applied_again_when_one_of_them_changed(
    connection: asyncpg.Connection, release: Path
) -> None:
    await migrate(connection, TIMEOUT_S, release)
    (release / "routines" / "15_more.sql").write_text(
        "CREATE OR REPLACE FUNCTION argus.answer() RETURNS integer LANGUAGE sql AS 'SELECT 42';"
    )
    outcome = await migrate(connection, TIMEOUT_S, release)
    assert outcome.applied == ("routines",)
    assert await connection.fetchval("SELECT argus.answer()") == 42
    open_to_all = await connection.fetchval(
        "SELECT has_function_privilege('argus_reader', 'argus.answer()', 'EXECUTE')"
    )
    assert not open_to_all


async def test_a_database_of_a_newer_release_is_left_alone(
    connection: asyncpg.Connection, release: Path
) -> None:
    following = len(numbered(release)) + 1
    newer = release / "migrations" / f"{following:04}_newer.sql"
    newer.write_text("CREATE TABLE argus.newer ();")
    await migrate(connection, TIMEOUT_S, release)
    before = await history(connection)
    newer.unlink()
    (release / "routines" / "15_older.sql").write_text("SELECT 1 / 0;")
    outcome = await migrate(connection, TIMEOUT_S, release)
    assert outcome == migrations.Outcome((), ahead=True)
    assert await history(connection) == before


@pytest.mark.parametrize("name", ["0009_gap.sql", "0001_twice.sql", "1_short.sql", "0004-dash.sql"])
async def test_files_that_are_not_numbered_in_a_row_are_refused(release: Path, name: str) -> None:
    (release / "migrations" / name).write_text("SELECT 1;")
    with pytest.raises(RefusedError) as caught:
        migrations.load(release)
    assert caught.value.reason == "MigrationsInvalid"


async def test_waiting_for_another_operator_has_an_end(
    connection: asyncpg.Connection, empty: str
) -> None:
    other = await asyncpg.connect(empty)
    await other.execute("SELECT pg_advisory_lock($1)", migrations.LOCK)
    with pytest.raises(TimeoutError):
        await migrate(connection, 0.5)
    await other.close()
    assert (await migrate(connection, TIMEOUT_S)).applied != ()


async def test_a_cancelled_run_leaves_nothing_and_can_be_repeated(
    connection: asyncpg.Connection, empty: str, release: Path
) -> None:
    (release / "routines" / "99_slow.sql").write_text("SELECT pg_sleep(30);")
    run = asyncio.create_task(migrate(connection, TIMEOUT_S, release))
    await asyncio.sleep(0.5)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await connection.fetchval("SELECT to_regnamespace('argus')") is None
    (release / "routines" / "99_slow.sql").unlink()
    another = await asyncpg.connect(empty)
    assert (await migrate(another, TIMEOUT_S, release)).applied != ()
    await another.close()


async def test_nothing_of_ours_keeps_the_extension_from_being_updated(
    connection: asyncpg.Connection,
) -> None:
    await migrate(connection, TIMEOUT_S)
    dependents = await connection.fetch(
        """
        SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
        FROM pg_depend d
        JOIN pg_depend member ON member.classid = d.refclassid AND member.objid = d.refobjid
             AND member.deptype = 'e'
        JOIN pg_extension e ON e.oid = member.refobjid AND e.extname = 'timescaledb'
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_class c ON c.oid = r.ev_class
        WHERE 'argus'::regnamespace IN (p.pronamespace, c.relnamespace)
        """
    )
    assert dependents == []
    home = await connection.fetchval(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'timescaledb'"
    )
    assert home != "argus"


@pytest.fixture
async def restricted(empty: str) -> AsyncIterator[str]:
    """The database for a role as a managed service gives it: no superuser, but roles and schemas.

    The extension was made before. The two roles of ARGUS belong to the server and exist already,
    so this role is given what their creator has.
    """
    role, name = f"it_{secrets.token_hex(4)}", empty.rpartition("/")[2]
    superuser = await asyncpg.connect(empty)
    await superuser.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await superuser.execute(f"CREATE ROLE {role} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    await superuser.execute(f"GRANT CREATE ON DATABASE {name} TO {role}")
    for shared in ("argus_stream", "argus_reader"):
        await superuser.execute(f"GRANT {shared} TO {role} WITH ADMIN TRUE, INHERIT FALSE")
    yield as_role(empty, role)
    await superuser.execute(f"DROP OWNED BY {role} CASCADE")
    await superuser.execute(f"DROP ROLE {role}")
    await superuser.close()


async def test_a_role_that_is_no_superuser_can_run_argus(migrated: str, restricted: str) -> None:
    operator = await asyncpg.connect(restricted)
    await migrate(operator, TIMEOUT_S)
    assert not await operator.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    await operator.execute("SELECT argus.ensure_roles($1, $1)", PASSWORD)
    pipeline = new_pipeline()
    await ensure(operator, pipeline)
    await ensure(operator, pipeline)

    stream = await asyncpg.connect(
        with_database(as_role(migrated, "argus_stream"), restricted.rpartition("/")[2])
    )
    await stream.execute("SELECT argus.create_staging()")
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event(by_id=True)]))
    await stream.close()

    reader = await asyncpg.connect(
        with_database(as_role(migrated, "argus_reader"), restricted.rpartition("/")[2])
    )
    row = await audit(reader, pipeline)
    assert (row["rows"], row["balanced"]) == (2, True)
    await reader.close()

    assert await operator.fetchval("SELECT argus.expire($1)", pipeline.uid) == 0
    await operator.execute("SELECT argus.drop_tenant($1)", pipeline.tenant_id)
    assert await operator.fetchval("SELECT to_regrole($1)", pipeline.role) is None
    await operator.close()
