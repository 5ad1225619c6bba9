"""PostgreSQL: the functions of schema `argus` that make, keep and drop what tenants own.

Values only, never DDL: identifiers are formed inside the functions (db/README.md).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from argus_contract import quotas
from argus_contract.names import TenantId, TopicName
from argus_contract.quotas import Usage
from argus_contract.states import State
from argus_contract.times import to_micros
from asyncpg.pool import PoolConnectionProxy

from argus_operator import ledger, metrics
from argus_operator.adapters.migrations import migrate
from argus_operator.errors import BusyError, OperatorError, RefusedError, UnavailableError
from argus_operator.ledger import Audit, Books
from argus_operator.schemas import PipelineObserved, PipelineTables, TenantSchema

logger = logging.getLogger(__name__)

MIGRATION_TIMEOUT_S: Final = 120.0
EXPIRE_TIMEOUT_S: Final = 1_800.0
"""Each row of a chunk is counted before it is dropped; at thousands a second that takes minutes."""
DROP_TIMEOUT_S: Final = 90.0
"""Dropping what a pipeline or tenant owned; less than a whole reconciliation may take."""
_NOT_OURS: Final = {"42883", "3F000"}
"""undefined_function, invalid_schema_name: the database is another one than was migrated."""
_POSITION: Final = """
SELECT coalesce(max(next_offset), 0) AS highest FROM argus.offsets WHERE topic = $1
"""
_BOOKS: Final = """
SELECT *, now() AS at FROM argus.pipeline_ledger WHERE $1::text IS NULL OR pipeline_uid = $1
"""
_SIGHTINGS: Final = "SELECT subject, seen FROM argus.sightings()"
_USAGE: Final = "SELECT * FROM argus.usage()"
_AUDIT: Final = "SELECT *, now() AS at FROM argus.audit WHERE pipeline_uid = $1"
_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's goodbye came between two steps of the client
    OSError,
    TimeoutError,
)


class Database:
    """A small pool that connects on first use; not to be used before `migrated` is set.

    `migrated` is taken back where the database turns out to be another one (restored, made anew):
    whoever prepares it does so again.
    """

    def __init__(self, options: Mapping[str, Any], timeout: float) -> None:
        """`options` are those of `argus_runtime.database.connect_options`; `timeout` in seconds."""
        self._options = options
        self._timeout = timeout
        self._pool: asyncpg.Pool | None = None
        self.migrated = False
        self.problem = "migrations have not run yet"

    async def open(self) -> None:
        """Makes the pool; connects nowhere yet."""
        self._pool = await asyncpg.create_pool(**self._options, min_size=0, max_size=4)

    async def close(self) -> None:
        """Closes the pool, cutting off what still runs after the timeout."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def prepare(self, stream_password: str, reader_password: str) -> None:
        """Migrates, and gives the roles of stream and readers their passwords; sets `migrated`.

        Raises OperatorError, and notes it in `problem`.
        """
        try:
            await self._migrate()
            self.migrated = True
            await self._call("SELECT argus.ensure_roles($1, $2)", stream_password, reader_password)
        except OperatorError as error:
            self.migrated = False
            self.problem = f"not migrated yet: {error.message}"
            raise

    async def _migrate(self) -> None:
        """On a connection of its own, since a migration may take longer than a statement."""
        try:
            connection = await asyncpg.connect(**self._options)
            try:
                outcome = await migrate(connection, MIGRATION_TIMEOUT_S)
            finally:
                await connection.close(timeout=self._timeout)
        except _AWAY as error:
            raise _unavailable(error) from error
        logger.info("migrations", extra={"applied": outcome.applied, "ahead": outcome.ahead})

    async def ensure_tenant(self, tenant: TenantSchema) -> None:
        """Makes the tenant's schema and role, or repairs them."""
        await self._call(
            "SELECT argus.ensure_tenant($1, $2, $3, $4)",
            tenant.tenant_id,
            tenant.namespace,
            tenant.name,
            tenant.schema,
        )

    async def ensure_pipeline(self, tables: PipelineTables) -> None:
        """Makes the pipeline's tables, or repairs and adjusts them."""
        await self._call(
            "SELECT argus.ensure_pipeline($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            tables.tenant.tenant_id,
            tables.uid,
            tables.pipeline,
            tables.topic,
            tables.dead_letter_topic,
            tables.partitions,
            tables.chunk_interval,
            tables.retention,
            tables.dedupe_window,
            tables.dead_letter_retention,
        )

    async def observe_pipeline(self, uid: str) -> PipelineObserved:
        """What exists of a pipeline."""
        row = await self._call("SELECT * FROM argus.observe_pipeline($1)", uid)
        if row is None:
            return PipelineObserved()
        return PipelineObserved(
            schema=row["schema_name"],
            events_table=row["events_table"],
            rollup_table=row["rollup_table"],
            ids_table=row["ids_table"],
            role=row["role_name"],
            chunk_interval=row["chunk_interval"],
            retention=row["retention"],
            dedupe_window=row["dedupe_window"],
            partitions=row["partitions"],
            retained=bool(row["retained"]),
        )

    async def sightings(self) -> dict[str, str | None]:
        """By tenant id and pipeline uid what is there, None where a part of it is absent.

        All that is not retained, in one query. Two are equal only where `observe_pipeline` would
        tell the same, of the very same tables.
        """
        return {row["subject"]: row["seen"] for row in await self._rows(_SIGHTINGS)}

    async def position(self, topic: TopicName) -> int:
        """The highest offset up to which a partition of the topic was read; 0 if none was."""
        row = await self._call(_POSITION, topic)
        return 0 if row is None else int(row["highest"])

    async def books(self, uid: str | None = None) -> list[Books]:
        """The ledger of every pipeline that is not retained, or of one."""
        return [_books(row) for row in await self._rows(_BOOKS, uid)]

    async def audit(self, uid: str, timeout: float) -> Audit | None:
        """Counts a pipeline's rows and letters; None where the pipeline is no more.

        The server itself gives up after `timeout` seconds, so no count outlives its asker.
        """
        async with (
            self._connection(timeout + self._timeout) as connection,
            connection.transaction(readonly=True),
        ):
            await connection.execute(f"SET LOCAL statement_timeout = {round(timeout * 1000)}")
            row = await connection.fetchrow(_AUDIT, uid, timeout=timeout + self._timeout)
        return None if row is None else ledger.audit(row["at"], dict(row))

    async def retain_pipeline(self, uid: str) -> None:
        """Puts the tables out of the way and keeps them; absent is fine."""
        await self._call("SELECT argus.retain_pipeline($1)", uid)

    async def drop_pipeline(self, uid: str) -> None:
        """Drops the tables and the ledger's rows; absent is fine."""
        await self._call("SELECT argus.drop_pipeline($1)", uid, timeout=DROP_TIMEOUT_S)

    async def retain_tenant(self, tenant: TenantId) -> None:
        """Marks the tenant as gone and keeps its schema; absent is fine."""
        await self._call("SELECT argus.retain_tenant($1)", tenant)

    async def drop_tenant(self, tenant: TenantId) -> None:
        """Drops schema and role but for tables that were retained; absent is fine."""
        await self._call("SELECT argus.drop_tenant($1)", tenant, timeout=DROP_TIMEOUT_S)

    async def expire(self, uid: str) -> int:
        """Drops what is past the pipeline's retention; the number of rows."""
        statement = "SELECT argus.expire($1) AS dropped"
        row = await self._call(statement, uid, timeout=EXPIRE_TIMEOUT_S)
        return 0 if row is None else int(row["dropped"] or 0)

    async def mark_usage(self) -> None:
        """Notes where every pipeline stands, where that was not done today."""
        await self._call("SELECT argus.mark_usage()")

    async def usage(self) -> dict[TenantId, Usage]:
        """What the logs of every tenant that is not retained took in this day and month of UTC."""
        return {row["tenant_id"]: _usage(row) for row in await self._rows(_USAGE)}

    async def _rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with self._connection(self._timeout) as connection:
            found: list[asyncpg.Record] = await connection.fetch(
                statement, *values, timeout=self._timeout
            )
            return found

    async def _call(
        self, statement: str, *values: object, timeout: float | None = None
    ) -> asyncpg.Record | None:
        allowed = self._timeout if timeout is None else timeout
        async with self._connection(allowed) as connection:
            return await connection.fetchrow(statement, *values, timeout=allowed)

    @asynccontextmanager
    async def _connection(self, allowed: float) -> AsyncIterator[PoolConnectionProxy]:
        """A connection for `allowed` seconds; what goes wrong is one of the operator's errors."""
        if not self.migrated or self._pool is None:
            raise UnavailableError("DatabaseNotMigrated", f"PostgreSQL: {self.problem}")
        try:
            async with (
                asyncio.timeout(allowed),
                self._pool.acquire(timeout=self._timeout) as connection,
            ):
                yield connection
        except _AWAY as error:
            if getattr(error, "sqlstate", None) in _NOT_OURS:
                self.migrated = False
                self.problem = f"to be migrated again: {error}"
            raise _translate(error) from error


def _books(row: asyncpg.Record) -> Books:
    return Books(
        uid=row["pipeline_uid"],
        namespace=row["namespace"],
        tenant=row["tenant"],
        pipeline=row["pipeline"],
        topic=row["topic"],
        at=row["at"],
        log_start=row["log_start"],
        log_end=row["log_end"],
        stored=row["stored"],
        duplicate=row["duplicate"],
        dead_lettered=row["dead_lettered"],
        skipped=row["skipped"],
        lost=row["lost"],
        expired=row["expired"],
        in_flight=row["in_flight"],
        balanced=row["balanced"],
        by_reason=json.loads(row["dead_lettered_by_reason"]),
        oldest_unread_at=row["oldest_unread_at"],
        last_event_at=row["last_event_at"],
        state=None if row["state"] is None else State(row["state"]),
        reason=row["reason"] or "",
        sampled_at=row["sampled_at"],
    )


def _usage(row: asyncpg.Record) -> Usage:
    at = to_micros(row["at"])
    return Usage(quotas.day_of(at), row["daily"], quotas.month_of(at), row["monthly"])


def _unavailable(error: Exception) -> UnavailableError:
    metrics.DEPENDENCY_ERRORS.labels("postgresql").inc()
    detail = f"{type(error).__name__} {error}".strip()
    return UnavailableError("DatabaseUnavailable", f"PostgreSQL: {detail}")


def _translate(error: Exception) -> RefusedError | BusyError | UnavailableError:
    match getattr(error, "sqlstate", None):
        case "AR409":
            way_out = getattr(error, "hint", None) or "delete this resource and use another name"
            return RefusedError("NameTaken", f"{error.args[0]}: {way_out}")
        case "AR404":
            return BusyError("NotThereYet", str(error))
        case _:
            return _unavailable(error)
