"""TimescaleDB: staging by binary COPY, the storing function, and the small questions beside it.

Every failure is told apart here, by class of exception and SQLSTATE, never by its text: after it
the logic knows whether rows, a pipeline's tables, or the whole database are to blame. A connection
that broke, or whose statement was given up, is thrown away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy
from asyncpg.prepared_stmt import PreparedStatement

from argus_stream import copyrows
from argus_stream.errors import (
    FencedError,
    HaltedError,
    RefusedError,
    StoreError,
    TableError,
    UnavailableError,
)
from argus_stream.ports import OutboxEntry, Outcome, WindowPart
from argus_stream.slices import Replay, Slice
from argus_stream.sources import Source, Standing

logger = logging.getLogger(__name__)

_STORE: Final = (
    "SELECT stored, duplicate, deltas FROM argus.store($1, $2, $3, $4, $5, $6, $7, $8, $9) "
    "ORDER BY slice"
)
_FENCE: Final = "AR001"
_HALTED: Final = "AR410"
_REHEARSED: Final = "AR100"
_DATA_CLASSES: Final = frozenset({"22", "23"})
_SERVER_CLASSES: Final = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
"""Connection, read-only after a failover, log-in, no database, deadlock, resources, shutdown,
system error."""
_BROKEN: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What asyncpg raises where a connection is of no more use; an internal error of the client, where
the server's goodbye came between two steps of ours."""
_QUERY_CANCELED: Final = "57014"
"""A statement that took too long: one pipeline's table is as likely as a slow server."""


class _Moved(msgspec.Struct):
    topic: str
    partition: int


class TimescaleStore:
    """`argus_stream.ports.Store`: one connection of its own, with its staging table."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are those of asyncpg.connect."""
        self._options = options
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._statement: PreparedStatement[asyncpg.Record] | None = None
        self._soiled = False

    async def store(self, slices: Sequence[Slice]) -> Sequence[Outcome]:
        """Stages all rows and calls the storing function: all slices or none."""
        async with self._staged(slices) as (_, statement):
            rows = await statement.fetch(*_arguments(slices))
            self._soiled = False
        return [Outcome(row[0], row[1], row[2]) for row in rows]

    async def rehearse(self, piece: Slice) -> None:
        """Stages the rows and calls `argus.rehearse`, which always fails, and undoes itself."""
        async with self._staged([piece]) as (connection, _):
            try:
                await connection.execute(
                    "SELECT argus.rehearse($1, $2, $3, $4, $5)",
                    *piece.lease.source,
                    piece.start,
                    piece.end,
                    piece.skipped,
                )
            except asyncpg.PostgresError as error:
                if error.sqlstate != _REHEARSED:
                    raise

    @asynccontextmanager
    async def _staged(
        self, slices: Sequence[Slice]
    ) -> AsyncIterator[
        tuple["asyncpg.Connection[asyncpg.Record]", "PreparedStatement[asyncpg.Record]"]
    ]:
        """A connection that holds these rows. It is thrown away where its state is not known."""
        try:
            with translated():
                connection, statement = await self._ready()
                self._soiled = True
                await _stage(connection, slices)
                yield connection, statement
        except (FencedError, RefusedError, TableError):
            raise
        except BaseException:
            self.discard()
            raise

    async def _ready(
        self,
    ) -> tuple["asyncpg.Connection[asyncpg.Record]", "PreparedStatement[asyncpg.Record]"]:
        """A connection with an empty staging table, and the statement prepared on it."""
        if self._connection is None or self._statement is None or self._connection.is_closed():
            self.discard()
            self._connection = await asyncpg.connect(**self._options)
            await self._connection.execute("SELECT argus.create_staging()")
            self._statement = await self._connection.prepare(_STORE)
        elif self._soiled:
            await self._connection.execute("SELECT argus.create_staging()")
        return self._connection, self._statement

    def discard(self) -> None:
        """Throws the connection away; what it was doing is undone, or done and fenced."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._statement = None


async def _stage(connection: "asyncpg.Connection[asyncpg.Record]", slices: Sequence[Slice]) -> None:
    if any(piece.rows for piece in slices):
        await connection.copy_to_table(
            "staged",
            schema_name="pg_temp",
            source=cast("Any", copyrows.copy_data(piece.rows for piece in slices)),
            columns=copyrows.COLUMNS,
            format="binary",
        )


def _arguments(slices: Sequence[Slice]) -> Sequence[Any]:
    return (
        [piece.lease.source.topic for piece in slices],
        [piece.lease.source.partition for piece in slices],
        [piece.start for piece in slices],
        [piece.end for piece in slices],
        [piece.skipped for piece in slices],
        [0] * len(slices),
        [len(piece.repeats) for piece in slices],
        _letters(slices),
        _replays(slices),
    )


def _letters(slices: Sequence[Slice]) -> str:
    return msgspec.json.encode(
        [
            {
                "slice": number,
                "offset": letter.record.offset,
                "id": letter.id,
                "code": letter.code,
                "event": letter.event,
                "step": letter.step,
                **(letter.replay._asdict() if letter.replay else {}),
            }
            for number, piece in enumerate(slices, 1)
            for letter in piece.letters
        ]
    ).decode()


def _replays(slices: Sequence[Slice]) -> str:
    return msgspec.json.encode(
        [
            {"slice": number, "offset": offset, **replay._asdict()}
            for number, piece in enumerate(slices, 1)
            for offset, replay in piece.replays.items()
        ]
    ).decode()


class TimescaleLedger:
    """`argus_stream.ports.Ledger` and `Outbox`, on a small pool."""

    def __init__(self, options: Mapping[str, Any], connections: int) -> None:
        """`options` are those of asyncpg.connect; nothing is connected before it is needed."""
        self._pool = asyncpg.create_pool(**options, min_size=0, max_size=connections)
        self._deadline = float(options["command_timeout"])

    async def open(self) -> None:
        """Makes the pool usable; does not connect."""
        await self._pool

    async def close(self) -> None:
        """Closes all connections, by force if they do not close in time."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def open_partition(self, source: Source, log_start: int) -> int:
        """`argus.open_partition`."""
        async with self._connection() as connection:
            return cast(
                "int",
                await connection.fetchval(
                    "SELECT argus.open_partition($1, $2, $3)", *source, log_start
                ),
            )

    async def halt_partition(self, source: Source, reason: str) -> None:
        """`argus.halt_partition`."""
        async with self._connection() as connection:
            await connection.execute("SELECT argus.halt_partition($1, $2, $3)", *source, reason)

    async def known_ids(
        self,
        topic: str,
        ids: Sequence[str],
        times: Sequence[datetime | None],
        *,
        rejects: bool,
    ) -> frozenset[str]:
        """`argus.known_ids`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM argus.known_ids($1, $2, $3, $4)", topic, ids, times, rejects
            )
        return frozenset(str(row[0]) for row in rows)

    async def settled_replays(self, replays: Sequence[Replay]) -> frozenset[str]:
        """`argus.settled_replays`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM argus.settled_replays($1, $2)",
                [replay.root for replay in replays],
                [replay.attempt for replay in replays],
            )
        return frozenset(row[0] for row in rows)

    async def sample(self, ends: Mapping[Source, int], oldest: Mapping[Source, datetime]) -> None:
        """`argus.sample`."""
        async with self._connection() as connection:
            await connection.execute(
                "SELECT argus.sample($1, $2, $3, $4)",
                [source.topic for source in ends],
                [source.partition for source in ends],
                list(ends.values()),
                [oldest.get(source) for source in ends],
            )

    async def report(self, standings: Mapping[Source, Standing]) -> None:
        """`argus.report_states`."""
        async with self._connection() as connection:
            await connection.execute(
                "SELECT argus.report_states($1, $2, $3, $4)",
                [source.topic for source in standings],
                [source.partition for source in standings],
                [standing.state for standing in standings.values()],
                [standing.reason for standing in standings.values()],
            )

    async def heartbeat(self, member: UUID, ttl: float) -> frozenset[UUID]:
        """`argus.heartbeat`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM argus.heartbeat($1, $2)", member, timedelta(seconds=ttl)
            )
        return frozenset(UUID(int=row[0].int) for row in rows)

    async def leave(self, member: UUID) -> None:
        """`argus.leave`."""
        async with self._connection() as connection:
            await connection.execute("SELECT argus.leave($1)", member)

    async def outbox_page(self, source: Source, offset: int, most: int) -> Sequence[OutboxEntry]:
        """`argus.outbox_page`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT from_offset, to_offset, deltas FROM argus.outbox_page($1, $2, $3, $4)",
                *source,
                offset,
                most,
            )
        return [OutboxEntry(*row) for row in rows]

    async def live_window(self, topic: str) -> Sequence[WindowPart]:
        """`argus.live_window`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT partition, next_offset, deltas FROM argus.live_window($1)", topic
            )
        return [WindowPart(*row) for row in rows]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
        with translated():
            async with self._pool.acquire(timeout=self._deadline) as connection:
                yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Raises StoreError in the place of whatever asyncpg raises."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _judge(error) from error
    except _BROKEN as error:
        raise UnavailableError(f"{type(error).__name__}: {error}") from error


def _judge(error: asyncpg.PostgresError) -> StoreError:
    state = error.sqlstate or "XX000"
    said = str(error.args[0])  # without DETAIL, which may hold the values of a row
    if state == _FENCE:
        moved = msgspec.json.decode(cast("str", error.detail), type=_Moved)
        return FencedError(Source(moved.topic, moved.partition), said)
    if state == _HALTED:
        return HaltedError(said)
    if state[:2] in _DATA_CLASSES:
        return RefusedError(state, said)
    if state[:2] in _SERVER_CLASSES and state != _QUERY_CANCELED:
        return UnavailableError(f"{said} (SQLSTATE {state})")
    return TableError(state, said)
