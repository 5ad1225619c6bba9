"""Asks PostgreSQL whether it answers and has the schema that this release needs.

And what it knows of the stream, and of each pipeline.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import asyncpg
from argus_contract.states import State
from argus_runtime import assets

from argus_cli import database
from argus_cli.doctor.findings import (
    Finding,
    notable,
    told,
    unasked,
    unreached,
    well,
    wrong,
)
from argus_cli.errors import MissingSettingError
from argus_cli.render import counted, span
from argus_cli.settings import Settings

SUBJECT: Final = "database"
TIMESCALE: Final = "TimescaleDB"
SCHEMA: Final = "schema argus"
STREAM: Final = "stream"
PIPELINES: Final = "pipelines"
LATE_S: Final = 60.0
"""How old the oldest unread record may be before it is worth a word."""
_MEMBER_S: Final = 10
"""A stream process that has not said that it lives for so long does not."""
_RUNNING: Final = "Is PostgreSQL running? Meanwhile events are accepted and wait in Kafka."
_OPERATOR_LOG: Final = "`kubectl -n argus logs deployment/argus-operator` says more."
_STREAM_LOG: Final = "`kubectl -n argus logs deployment/argus-stream` says more."

_STANDING: Final[Mapping[str, str]] = {
    State.PAUSED: f"The stream tries again by itself, and loses nothing. {_STREAM_LOG}",
    State.STOPPED: "Its log is not the one that was read: `docs/runbook.md` says how to go on.",
    State.GUARDED: "The database refuses most of its records: mend what the reason names; the guard"
    " tries some records every half minute and opens by itself.",
}
"""What to do about a partition that stands still, by its state."""

_TIMESCALE: Final = "select extversion from pg_extension where extname = 'timescaledb'"
_MIGRATIONS: Final = "select max(version) from argus.migrations"
_MEMBERS: Final = """
select count(*) filter (where heartbeat_at > now() - make_interval(secs => $1)) as alive,
       max(heartbeat_at) as last, now() as now
from argus.members
"""
_PIPELINES: Final = """
select namespace, pipeline, in_flight, lost, balanced, state, reason,
       extract(epoch from now() - oldest_unread_at)::float8 as late
from argus.pipeline_ledger
order by namespace, pipeline
"""


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Question = Callable[[Connection], Awaitable[list[Finding]]]


async def examine(settings: Settings, limit: float) -> AsyncIterator[Finding]:
    """One connection, one question after the other."""
    try:
        target = settings.require_database()
    except MissingSettingError:
        yield unasked(SUBJECT, "ARGUS_DATABASE_URL is not set")
        return
    where = database.named(target)
    options = database.connect_options(target) | {"timeout": limit, "command_timeout": limit}
    try:
        async with asyncio.timeout(limit):
            connection = await asyncpg.connect(**options)
    except (*database.AWAY, ValueError) as error:
        yield _unconnected(where, error)
        for subject in (TIMESCALE, SCHEMA, STREAM, PIPELINES):
            yield unasked(subject, "the database does not answer")
        return
    try:
        yield well(SUBJECT, f"{where} answers (PostgreSQL {connection.get_server_version().major})")
        for subject, ask in QUESTIONS.items():
            try:
                findings = await ask(connection)
            except database.AWAY as error:
                findings = [_unanswered(subject, error)]
            for finding in findings:
                yield finding
    finally:
        connection.terminate()


async def _timescale(connection: Connection) -> list[Finding]:
    version = await connection.fetchval(_TIMESCALE)
    if version is None:
        return [
            wrong(
                TIMESCALE,
                "the extension is not in this database",
                "Preload timescaledb, allow it, and restart the operator, which creates it.",
            )
        ]
    return [well(TIMESCALE, f"version {version}")]


async def _schema(connection: Connection) -> list[Finding]:
    return [migrated(await connection.fetchval(_MIGRATIONS), needed())]


def needed() -> int:
    """The migration that this release needs: the last of those that it brings."""
    return max(int(file.name[:4]) for file in assets.path("db", "migrations").glob("*.sql"))


def migrated(found: int | None, wanted: int) -> Finding:
    """Whether the schema is at the migration that this release needs."""
    if found is None or found < wanted:
        return wrong(
            SCHEMA,
            f"it is at migration {found or 0}, and this release needs {wanted}",
            f"The operator brings it up to date when it starts. {_OPERATOR_LOG}",
        )
    if found > wanted:
        return notable(
            SCHEMA,
            f"it is at migration {found}, and this release knows {wanted}",
            "A newer release runs there: use its console.",
        )
    return well(SCHEMA, f"it is at migration {found}, as this release needs it")


async def _stream(connection: Connection) -> list[Finding]:
    row = await connection.fetchrow(_MEMBERS, _MEMBER_S)
    if row is None or row["last"] is None:
        return [wrong(STREAM, "no process has ever said that it lives", _STREAM_LOG)]
    if not row["alive"]:
        ago = span((row["now"] - row["last"]).total_seconds())
        return [
            wrong(
                STREAM,
                f"no process lives; the last one said so {ago} ago",
                f"Is it scaled to 0? {_STREAM_LOG} Meanwhile events wait in Kafka.",
            )
        ]
    return [well(STREAM, f"processes that live: {row['alive']}")]


async def _pipelines(connection: Connection) -> list[Finding]:
    rows = await connection.fetch(_PIPELINES)
    findings = [finding for row in rows for finding in of_pipeline(dict(row))]
    return findings or [
        well(
            PIPELINES,
            f"{counted(len(rows), 'pipeline')}, balanced, nothing stands still or is late",
        )
    ]


def of_pipeline(row: Mapping[str, Any]) -> list[Finding]:
    """What is not well with the pipeline of this row of argus.pipeline_ledger."""
    name = f"pipeline {row['namespace']}/{row['pipeline']}"
    found = []
    if row["state"] in _STANDING:
        said = f"it is {row['state']}: {row['reason'] or 'nobody says why'}"
        found.append(wrong(name, said, _STANDING[row["state"]]))
    if row["lost"]:
        found.append(
            wrong(
                name,
                f"{row['lost']:,} records were lost: Kafka deleted them before they were read",
                "Was its retention shortened, its disk full, or the topic cut by hand? They are"
                " gone.",
            )
        )
    elif not row["balanced"]:
        found.append(wrong(name, "its ledger is unbalanced", "`argus ledger --audit` says what."))
    if row["late"] is not None and row["late"] > LATE_S:
        found.append(
            notable(
                name,
                f"{row['in_flight']:,} records wait, the oldest for {span(row['late'])}",
                f"Does the stream keep up? {_STREAM_LOG}",
            )
        )
    return found


QUESTIONS: Final[Mapping[str, Question]] = {
    TIMESCALE: _timescale,
    SCHEMA: _schema,
    STREAM: _stream,
    PIPELINES: _pipelines,
}


def _unconnected(where: str, error: Exception) -> Finding:
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return wrong(
                SUBJECT,
                f"{where} refuses the user or the password: {told(error)}",
                "The Secret with reader-password has the one of argus_reader.",
            )
        case asyncpg.InvalidCatalogNameError():
            return wrong(SUBJECT, f"{where}: {error}", "Is its name right? It has to be made once.")
        case asyncpg.CannotConnectNowError():
            return wrong(SUBJECT, f"{where}: {error}", "Ask again in a moment.")
        case asyncpg.TooManyConnectionsError():
            return wrong(SUBJECT, f"{where}: {error}", "Raise max_connections, or use a pooler.")
        case asyncpg.ClientConfigurationError():
            return wrong(SUBJECT, str(error), "ARGUS_DATABASE_URL begins with postgresql://.")
        case _:
            return unreached(SUBJECT, where, error, _RUNNING)


def _unanswered(subject: str, error: Exception) -> Finding:
    match error:
        case asyncpg.InsufficientPrivilegeError():
            return wrong(subject, f"this role may not ask: {error}", "Use the role argus_reader.")
        case asyncpg.UndefinedTableError() | asyncpg.InvalidSchemaNameError():
            return wrong(
                subject,
                f"ARGUS's tables are not all there: {error}",
                f"The operator makes them when it starts. {_OPERATOR_LOG}",
            )
        case TimeoutError():
            return wrong(subject, "the database does not answer in time", _RUNNING)
        case _:
            return wrong(subject, f"the database fails to answer: {told(error)}", _RUNNING)
