"""Reads the books in PostgreSQL: the ledger, the count of rows, the recorded dead letters.

One snapshot an answer: a repeatable-read transaction, so that a count and the ledger that it is
held against are of the same moment. It only ever reads.
"""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from argus_contract import headers
from argus_contract.registry import Pipeline
from argus_runtime import database as runtime
from argus_runtime.settings import DatabaseSettings

from argus_cli.audit import Recorded
from argus_cli.errors import UnreachableError
from argus_cli.ledger import Facts, Line
from argus_cli.replay import Outcome, Standing

_APPLICATION: Final = "argus-cli"
_PORT: Final = 5432
_CONNECT_S: Final = 10.0
_TIMEOUT_S: Final = 60.0
_CLOSE_S: Final = 5.0
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's goodbye came between two steps of the client
)
"""What is raised where the database refuses, or does not answer."""
_OLDER: Final = "Is the operator of this release running? It brings the database up to date."

# argus.ledger, and besides the partitions that no stream has opened yet: what waits there is in
# flight, and a view without them would look balanced.
_LINES: Final = """
select t.namespace, t.name as tenant, p.pipeline, p.topic, partition,
       coalesce(l.first_offset, 0) as first_offset, coalesce(l.next_offset, 0) as next_offset,
       coalesce(l.log_end, 0) as log_end, coalesce(l.stored, 0) as stored,
       coalesce(l.duplicate, 0) as duplicate, coalesce(l.dead_lettered, 0) as dead_lettered,
       coalesce(l.skipped, 0) as skipped, coalesce(l.lost, 0) as lost,
       coalesce(l.expired, 0) as expired
from argus.pipelines p
join argus.tenants t using (tenant_id)
cross join generate_series(0, p.partitions - 1) as partition
left join argus.ledger l using (topic, partition)
where p.retained_at is null
  and ($1::text is null or t.namespace = $1) and ($2::text is null or t.name = $2)
order by t.namespace, t.name, p.pipeline, partition
"""
_PIPELINES: Final = """
select namespace, tenant, pipeline, dead_lettered_by_reason, oldest_unread_at, last_event_at,
       state, reason, balanced
from argus.pipeline_ledger
where ($1::text is null or namespace = $1) and ($2::text is null or tenant = $2)
"""
_COUNTS: Final = """
select namespace, tenant, a.pipeline, rows, letters_expired,
       p.dead_letter_topic, p.dead_letter_retention
from argus.audit a
join argus.pipelines p using (pipeline_uid)
where ($1::text is null or namespace = $1) and ($2::text is null or tenant = $2)
"""
_RECORDED: Final = """
select topic, partition, source_offset, code, at, case when root is null then id end as id
from argus.dead_letters
where topic = any($1::text[])
"""
# The names of schema and table come from the registry, never from a user; %I as in db/.
_TABLE: Final = "select format('%I.%I', $1::text, $2::text)"
_RECEIVED: Final = """
select count(*) as rows, min(received_at) as first, max(received_at) as last
from {table}
where time >= $1 and id = any($2::uuid[])
"""
_BETWEEN: Final = """
select event, count(*) as rows
from {table}
where received_at >= $1 and received_at < $2
group by event
"""
_STANDINGS: Final = "select root, attempt, outcome from argus.replays where root = any($1::text[])"
_POSITIONS: Final = "select partition, next_offset from argus.offsets where topic = $1"


@dataclass(frozen=True, slots=True)
class Counted:
    """One pipeline of `argus.audit`: rows in its table, recorded letters dropped by age.

    `dead_letter_retention` is what its spec says.
    """

    namespace: str
    tenant: str
    pipeline: str
    rows: int
    letters_expired: int
    dead_letter_topic: str
    dead_letter_retention: timedelta


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Ledger, rows and recorded letters of one moment, `now` by the database's clock."""

    lines: tuple[Line, ...]
    counted: tuple[Counted, ...]
    recorded: dict[str, dict[str, Recorded]]
    """By source topic, then by key."""
    now: datetime


@dataclass(frozen=True, slots=True)
class Received:
    """How many of some events are rows, and when the first and the last were received."""

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None


class Database:
    """A reader of one installation's database; get one from `reading`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def lines(self, namespace: str | None = None, tenant: str | None = None) -> list[Line]:
        """The ledger, of all tenants or of one; the log's end is the one last sampled."""
        rows = await self._connection.fetch(_LINES, namespace, tenant)
        return [Line(**dict(row)) for row in rows]

    async def facts(
        self, namespace: str | None = None, tenant: str | None = None
    ) -> dict[tuple[str, str], Facts]:
        """What is known of each pipeline besides its terms, by namespace and name."""
        rows = await self._connection.fetch(_PIPELINES, namespace, tenant)
        return {
            (row["namespace"], row["pipeline"]): Facts(
                dead_letters=json.loads(row["dead_lettered_by_reason"]),
                oldest_unread_at=row["oldest_unread_at"],
                last_event_at=row["last_event_at"],
                state=row["state"],
                reason=row["reason"],
                balanced=row["balanced"],
            )
            for row in rows
        }

    async def snapshot(self, namespace: str | None = None, tenant: str | None = None) -> Snapshot:
        """Everything that an audit compares, of one moment. Counts every row: takes a while."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            lines = await self.lines(namespace, tenant)
            counts = await self._connection.fetch(_COUNTS, namespace, tenant)
            recorded = await self._recorded({line.topic for line in lines})
            now = await self._connection.fetchval("select now()")
        return Snapshot(
            lines=tuple(lines),
            counted=tuple(Counted(**dict(row)) for row in counts),
            recorded=recorded,
            now=now,
        )

    async def _recorded(self, topics: Iterable[str]) -> dict[str, dict[str, Recorded]]:
        found: dict[str, dict[str, Recorded]] = {topic: {} for topic in topics}
        for row in await self._connection.fetch(_RECORDED, list(found)):
            key = headers.letter_key(row["topic"], row["partition"], row["source_offset"]).decode()
            found[row["topic"]][key] = Recorded(key, row["code"], row["at"], row["id"])
        return found

    async def standings(self, roots: Sequence[str]) -> dict[str, Standing]:
        """How the last replay of each of these dead letters was settled, by its key.

        None for one without a replay, or whose replay has not been read yet.
        """
        rows = await self._connection.fetch(_STANDINGS, list(roots))
        return {row["root"]: Standing(row["attempt"], Outcome(row["outcome"])) for row in rows}

    async def positions(self, topic: str) -> dict[int, int]:
        """The first offset of each partition that is not settled."""
        rows = await self._connection.fetch(_POSITIONS, topic)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def received(
        self, pipeline: Pipeline, since: datetime, event_ids: Iterable[str]
    ) -> Received:
        """What the table has of these events, of those with a time from `since` on."""
        query = _RECEIVED.format(table=await self._table(pipeline))
        row = await self._connection.fetchrow(query, since, list(event_ids))
        return Received() if row is None else Received(**dict(row))

    async def between(self, pipeline: Pipeline, start: datetime, end: datetime) -> dict[str, int]:
        """Rows by event name that were received from `start` until before `end`."""
        query = _BETWEEN.format(table=await self._table(pipeline))
        rows = await self._connection.fetch(query, start, end)
        return {row["event"]: row["rows"] for row in rows}

    async def _table(self, pipeline: Pipeline) -> str:
        name: str = await self._connection.fetchval(_TABLE, pipeline.schema, pipeline.table)
        return name


@asynccontextmanager
async def reading(target: str | DatabaseSettings) -> AsyncIterator[Database]:
    """A connected reader; raises UnreachableError where the database refuses or does not answer.

    So it does where it knows no schema `argus`, or where the role may not read it. `target` is a
    URL, or its parts.
    """
    try:
        connection = await asyncpg.connect(**connect_options(target))
    except (*AWAY, ValueError) as error:
        raise UnreachableError(named(target), error) from error
    try:
        yield Database(connection)
    except BrokenPipeError:  # nobody reads our output any more
        raise
    except asyncpg.UndefinedTableError as error:
        raise UnreachableError("what ARGUS keeps in the database", f"{error}. {_OLDER}") from error
    except AWAY as error:
        raise UnreachableError("what ARGUS keeps in the database", error) from error
    finally:
        with suppress(*AWAY):  # it is aborted then; nothing was written that could be lost
            await connection.close(timeout=_CLOSE_S)


def connect_options(target: str | DatabaseSettings) -> dict[str, Any]:
    """Keyword arguments for asyncpg.connect."""
    if isinstance(target, DatabaseSettings):
        return runtime.connect_options(target, _APPLICATION) | {"command_timeout": _TIMEOUT_S}
    return {
        "dsn": target,
        "timeout": _CONNECT_S,
        "command_timeout": _TIMEOUT_S,
        "server_settings": {"application_name": _APPLICATION},
    }


def named(target: str | DatabaseSettings) -> str:
    """The database as messages name it: never with a password."""
    if isinstance(target, DatabaseSettings):
        return f"the database {target.name} at {target.host}:{target.port}"
    try:
        parts = urlsplit(target)
        return f"the database at {parts.hostname}:{parts.port or _PORT} (ARGUS_DATABASE_URL)"
    except ValueError:
        return "the database in ARGUS_DATABASE_URL"
