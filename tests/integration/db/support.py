"""What the tests of the SQL interface share: a pipeline, events, and the stream's two steps."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

FENCE = "AR001"
DOES_NOT_ADD_UP = "AR002"

PASSWORD = "argus-test"
"""Of argus_stream and argus_reader: roles belong to the server, so every session sets the same."""

Connect = Callable[[str | None], Awaitable[asyncpg.Connection]]
"""Connects as a role; None is the owner of the database."""

COLUMNS = (
    "slice",
    "source_offset",
    "id",
    "time",
    "received_at",
    "by_id",
    "event",
    "distinct_id",
    "session_id",
    "value",
    "properties",
)


def as_role(url: str, role: str) -> str:
    """The same database for another role of the tests' password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}"))


def with_database(url: str, name: str) -> str:
    """Another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """A staged row; its slice and offset are given when it is staged."""

    id: UUID = field(default_factory=uuid4)
    time: datetime = field(default_factory=now)
    received_at: datetime = field(default_factory=now)
    by_id: bool = False
    event: str = "page_view"
    distinct_id: str | None = "visitor-1"
    session_id: str | None = None
    value: float | None = None
    properties: str | None = '{"url": "/"}'

    def at(self, slice_: int, offset: int) -> tuple[object, ...]:
        return (slice_, offset, *(getattr(self, name) for name in COLUMNS[2:]))


@dataclass(frozen=True, slots=True)
class Slice:
    """What one call does to one partition; offsets follow from what is in it."""

    topic: str
    partition: int
    start: int
    events: Sequence[Event] = ()
    letters: Sequence[dict[str, Any]] = ()
    skipped: int = 0
    lost: int = 0
    duplicate_letters: int = 0
    replays: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Of which events, by their place in `events`, the root and attempt are told."""

    @property
    def end(self) -> int:
        counted = self.skipped + self.lost + self.duplicate_letters
        return self.start + len(self.events) + len(self.letters) + counted


@dataclass(frozen=True, slots=True)
class Stored:
    """What the call says of one slice."""

    stored: int
    duplicate: int
    deltas: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline with random names."""

    tenant_id: str
    namespace: str
    tenant: str
    schema: str
    uid: str
    name: str
    topic: str
    partitions: int = 4
    chunk_interval: timedelta = timedelta(days=1)
    retention: timedelta = timedelta(days=30)
    dedupe_window: timedelta = timedelta(days=1)
    dead_letter_retention: timedelta | None = None

    @property
    def uid8(self) -> str:
        return self.uid[:8]

    @property
    def suffix(self) -> str:
        return self.name.replace("-", "_")

    @property
    def events(self) -> str:
        return f"{self.schema}.events_{self.suffix}"

    @property
    def rollup(self) -> str:
        return f"{self.schema}.rollup_{self.suffix}"

    @property
    def ids(self) -> str:
        return f"{self.schema}.ids_{self.suffix}"

    @property
    def role(self) -> str:
        return f"{self.schema}_ro"


def new_pipeline(**changes: Any) -> Pipeline:
    """A tenant and pipeline that no other test has."""
    uid8, tenant_uid8 = secrets.token_hex(4), secrets.token_hex(4)
    pipeline = Pipeline(
        tenant_id=f"shop.acme.{tenant_uid8}",
        namespace="shop",
        tenant=f"acme-{tenant_uid8}",
        schema=f"t_shop_acme_{tenant_uid8}",
        uid=f"{uid8}-0000-4000-8000-000000000000",
        name="web-app",
        topic=f"argus.shop.web-app.{uid8}",
    )
    return replace(pipeline, **changes)


def sibling(pipeline: Pipeline, name: str) -> Pipeline:
    """Another pipeline of the same tenant."""
    uid8 = secrets.token_hex(4)
    return replace(
        pipeline,
        uid=f"{uid8}-0000-4000-8000-000000000000",
        name=name,
        topic=f"argus.shop.{name}.{uid8}",
    )


async def ensure_tenant(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    await admin.execute(
        "SELECT argus.ensure_tenant($1, $2, $3, $4)",
        pipeline.tenant_id,
        pipeline.namespace,
        pipeline.tenant,
        pipeline.schema,
    )


async def ensure_pipeline(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    await admin.execute(
        "SELECT argus.ensure_pipeline($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        pipeline.tenant_id,
        pipeline.uid,
        pipeline.name,
        pipeline.topic,
        f"{pipeline.topic}.dead",
        pipeline.partitions,
        pipeline.chunk_interval,
        pipeline.retention,
        pipeline.dedupe_window,
        pipeline.dead_letter_retention,
    )


async def ensure(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    """Makes tenant, pipeline and its partitions, all standing at offset 0."""
    await ensure_tenant(admin, pipeline)
    await ensure_pipeline(admin, pipeline)
    for partition in range(pipeline.partitions):
        await admin.execute("SELECT argus.open_partition($1, $2, 0)", pipeline.topic, partition)


async def staging(connect_as: Connect) -> asyncpg.Connection:
    """Another connection of argus_stream, with its staging table."""
    connection = await connect_as("argus_stream")
    await connection.execute("SELECT argus.create_staging()")
    return connection


async def stage(connection: asyncpg.Connection, slices: Iterable[Slice]) -> None:
    """COPY, as the stream does it; events take the first offsets of their slice."""
    records = [
        event.at(number, part.start + index)
        for number, part in enumerate(slices, start=1)
        for index, event in enumerate(part.events)
    ]
    await connection.copy_records_to_table(
        "staged", schema_name="pg_temp", columns=COLUMNS, records=records
    )


async def store_staged(connection: asyncpg.Connection, slices: Sequence[Slice]) -> list[Stored]:
    """The one call that moves what is staged."""
    letters = [
        {"slice": number, "offset": part.start + len(part.events) + index, **letter}
        for number, part in enumerate(slices, start=1)
        for index, letter in enumerate(part.letters)
    ]
    replays = [
        {"slice": number, "offset": part.start + index, "root": root, "attempt": attempt}
        for number, part in enumerate(slices, start=1)
        for index, (root, attempt) in part.replays.items()
    ]
    rows = await connection.fetch(
        "SELECT * FROM argus.store($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [part.topic for part in slices],
        [part.partition for part in slices],
        [part.start for part in slices],
        [part.end for part in slices],
        [part.skipped for part in slices],
        [part.lost for part in slices],
        [part.duplicate_letters for part in slices],
        json.dumps(letters),
        json.dumps(replays),
    )
    assert [row["slice"] for row in rows] == list(range(1, len(slices) + 1))
    return [Stored(row["stored"], row["duplicate"], json.loads(row["deltas"])) for row in rows]


async def store(connection: asyncpg.Connection, *slices: Slice) -> list[Stored]:
    """Both steps."""
    await stage(connection, slices)
    return await store_staged(connection, slices)


async def ledger(
    connection: asyncpg.Connection, pipeline: Pipeline, partition: int = 0
) -> asyncpg.Record:
    row = await connection.fetchrow(
        "SELECT * FROM argus.ledger WHERE topic = $1 AND partition = $2", pipeline.topic, partition
    )
    assert row is not None
    return row


async def pipeline_ledger(connection: asyncpg.Connection, pipeline: Pipeline) -> asyncpg.Record:
    row = await connection.fetchrow(
        "SELECT * FROM argus.pipeline_ledger WHERE pipeline_uid = $1", pipeline.uid
    )
    assert row is not None
    return row


async def audit(connection: asyncpg.Connection, pipeline: Pipeline) -> asyncpg.Record:
    row = await connection.fetchrow(
        "SELECT * FROM argus.audit WHERE namespace = $1 AND tenant = $2 AND pipeline = $3",
        pipeline.namespace,
        pipeline.tenant,
        pipeline.name,
    )
    assert row is not None
    return row


async def sample(
    connection: asyncpg.Connection,
    pipeline: Pipeline,
    end: int | None,
    oldest: datetime | None = None,
    partition: int = 0,
) -> None:
    await connection.execute(
        "SELECT argus.sample($1, $2, $3, $4)", [pipeline.topic], [partition], [end], [oldest]
    )


async def refused(call: Awaitable[object]) -> asyncpg.PostgresError:
    """The error of a call that must fail."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await call
    return caught.value


async def nothing_happened(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    """No trace of a batch of partition 0."""
    for table in (pipeline.events, pipeline.rollup, pipeline.ids):
        assert await count(admin, table) == 0, table
    for name in ("outbox", "dead_letters", "letter_counts", "replays"):
        assert await count(admin, f"argus.{name} WHERE topic = '{pipeline.topic}'") == 0, name
    assert await count(admin, f"argus.event_names WHERE pipeline_uid = '{pipeline.uid}'") == 0
    assert (await ledger(admin, pipeline))["next_offset"] == 0


async def count(connection: asyncpg.Connection, table: str) -> int:
    found = await connection.fetchval(f"SELECT count(*) FROM {table}")
    assert isinstance(found, int)
    return found


def summed(outcomes: Iterable[Stored]) -> dict[tuple[str, str], int]:
    """Deltas of several moves as one counter by second and event."""
    total: dict[tuple[str, str], int] = {}
    for outcome in outcomes:
        for second, events in outcome.deltas.items():
            for event, n in events.items():
                total[second, event] = total.get((second, event), 0) + n
    return total
