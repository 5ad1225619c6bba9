"""A database of release 0.1.0 with rows in it becomes one of this release under its users' feet."""

import asyncio
import json
import random
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from argus_operator.adapters.migrations import migrate
from argus_runtime import assets

from tests.integration.db.support import (
    Event,
    Pipeline,
    Slice,
    audit,
    ensure_tenant,
    ledger,
    new_pipeline,
    pipeline_ledger,
    stage,
    store,
)

TIMEOUT_S = 60
ROUTINES = Path(__file__).with_name("release_0.1.0.sql")
LAST_MIGRATION = 3
STORE = "SELECT stored, duplicate FROM argus.store($1, $2, $3, $4, $5, $6, $7, $8) ORDER BY slice"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The db/ of release 0.1.0; numbered migrations never change, so the first ones are today's."""
    directory = tmp_path / "db"
    (directory / "routines").mkdir(parents=True)
    (directory / "migrations").mkdir()
    shutil.copy(ROUTINES, directory / "routines")
    for file in sorted((assets.path("db") / "migrations").glob("*.sql"))[:LAST_MIGRATION]:
        shutil.copy(file, directory / "migrations")
    return directory


@pytest.fixture
async def old(empty: str, former: Path) -> AsyncIterator[asyncpg.Connection]:
    """The operator's connection to a database of release 0.1.0."""
    connection = await asyncpg.connect(empty)
    await migrate(connection, TIMEOUT_S, former)
    yield connection
    await connection.close()


class OldStream:
    """Calls as the stream of release 0.1.0 makes them: prepared once, eight arguments."""

    def __init__(self, connection: asyncpg.Connection, statement: Any) -> None:
        self.connection = connection
        self._statement = statement

    @classmethod
    async def connect(cls, url: str) -> "OldStream":
        connection = await asyncpg.connect(url)
        await connection.execute("SELECT argus.create_staging()")
        return cls(connection, await connection.prepare(STORE))

    async def store(self, part: Slice) -> tuple[int, int]:
        """Stored and duplicate."""
        await stage(self.connection, [part])
        letters = [
            {"slice": 1, "offset": part.start + len(part.events) + index, **letter}
            for index, letter in enumerate(part.letters)
        ]
        [row] = await self._statement.fetch(
            *([part.topic], [part.partition], [part.start], [part.end]),
            *([part.skipped], [part.lost], [part.duplicate_letters], json.dumps(letters)),
        )
        return row["stored"], row["duplicate"]


@pytest.fixture
async def stream(empty: str, old: asyncpg.Connection) -> AsyncIterator[OldStream]:
    """A stream that started before the upgrade."""
    made = await OldStream.connect(empty)
    yield made
    await made.connection.close()


async def ensure_as_before(operator: asyncpg.Connection, pipeline: Pipeline) -> None:
    """What the operator of release 0.1.0 does to a pipeline."""
    await ensure_tenant(operator, pipeline)
    await operator.execute(
        "SELECT argus.ensure_pipeline($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(pipeline.tenant_id, pipeline.uid, pipeline.name, pipeline.topic),
        *(f"{pipeline.topic}.dead", pipeline.partitions, pipeline.chunk_interval),
        *(pipeline.retention, pipeline.dedupe_window),
    )
    for partition in range(pipeline.partitions):
        await operator.execute("SELECT argus.open_partition($1, $2, 0)", pipeline.topic, partition)


def letters(*codes: str) -> list[dict[str, Any]]:
    return [{"id": str(uuid4()), "code": code, "event": "signup"} for code in codes]


async def test_rows_and_letters_are_there_and_reasons_add_up(
    old: asyncpg.Connection, stream: OldStream
) -> None:
    short = new_pipeline(chunk_interval=timedelta(hours=1), retention=timedelta(hours=6))
    await ensure_as_before(old, short)
    events = [Event(), Event(by_id=True)]
    await stream.store(Slice(short.topic, 0, 0, events, letters("too_old", "refused", "too_old")))
    await stream.store(Slice(short.topic, 1, 0, letters=letters("too_new")))
    await stream.store(Slice(short.topic, 2, 0, letters=letters("refused", "refused")))
    await old.execute(
        "UPDATE argus.dead_letters SET at = now() - interval '9 days'"
        " WHERE partition = 0 AND source_offset IN (2, 3)"
    )
    await old.execute("SELECT argus.expire($1)", short.uid)
    # A hand was in: more letters are there than the ledger knows of.
    await old.execute("DELETE FROM argus.offsets WHERE partition = 1")
    await old.execute("UPDATE argus.offsets SET dead_lettered = 1, skipped = 1 WHERE partition = 2")

    outcome = await migrate(old, TIMEOUT_S)
    assert outcome.applied[-1] == "routines"
    counts = await old.fetch("SELECT partition, code, n FROM argus.letter_counts ORDER BY 1, 2")
    assert [tuple(row) for row in counts] == [
        (0, "too_old", 1),
        (0, "unknown", 2),
        (2, "unknown", 1),
    ]
    row = await pipeline_ledger(old, short)
    assert json.loads(row["dead_lettered_by_reason"]) == {"too_old": 1, "unknown": 3}
    assert (row["stored"], row["dead_lettered"], row["balanced"]) == (2, 4, True)
    assert (row["state"], row["last_event_at"], row["oldest_unread_at"]) == (None, None, None)
    letter = await old.fetchrow("SELECT step, root, attempt FROM argus.dead_letters LIMIT 1")
    assert letter is not None
    assert tuple(letter) == (None, None, 1)


async def test_a_stream_of_before_goes_on_as_if_nothing_had_happened(
    old: asyncpg.Connection, stream: OldStream, empty: str
) -> None:
    pipeline = new_pipeline()
    await ensure_as_before(old, pipeline)
    repeated = Event()
    first = Slice(pipeline.topic, 0, 0, [repeated, Event(by_id=True)], letters("too_old"))
    assert await stream.store(first) == (2, 0)
    calls = stream.connection
    sampling = await calls.prepare("SELECT argus.sample_log_end($1, $2, $3)")
    following = await calls.prepare("SELECT * FROM argus.outbox_after($1, $2, $3)")
    await sampling.fetch([pipeline.topic], [0], [3])

    await migrate(old, TIMEOUT_S)
    part = Slice(pipeline.topic, 0, 3, [repeated, Event(by_id=True)], letters("too_old", "refused"))
    assert await stream.store(part) == (1, 1)
    fresh = await OldStream.connect(empty)
    assert await fresh.store(Slice(pipeline.topic, 1, 0, [Event()])) == (1, 0)
    await fresh.connection.close()
    await sampling.fetch([pipeline.topic], [0], [9])
    moves = await following.fetch(pipeline.topic, 0, 0)
    assert [(move["from_offset"], move["to_offset"]) for move in moves] == [(0, 3), (3, 7)]
    known = await calls.fetch(
        "SELECT * FROM argus.known_ids($1, $2, $3)",
        *(pipeline.topic, [repeated.id, uuid4()], [repeated.time, None]),
    )
    assert [row[0] for row in known] == [repeated.id]
    row = await pipeline_ledger(old, pipeline)
    assert json.loads(row["dead_lettered_by_reason"]) == {"too_old": 2, "refused": 1}
    assert (row["in_flight"], row["balanced"]) == (2, True)
    assert row["last_event_at"] is not None
    assert (await audit(old, pipeline))["balanced"]


async def test_an_operator_of_before_that_comes_back_finds_what_it_calls(
    old: asyncpg.Connection, former: Path, stream: OldStream
) -> None:
    pipeline, later = new_pipeline(), new_pipeline()
    await ensure_as_before(old, pipeline)
    await migrate(old, TIMEOUT_S)
    assert (await migrate(old, TIMEOUT_S, former)).ahead
    await ensure_as_before(old, pipeline)
    await ensure_as_before(old, later)
    await stream.store(Slice(later.topic, 0, 0, [Event()], letters("too_old")))
    assert (await ledger(old, later))["balanced"]
    assert await old.fetchval("SELECT argus.expire($1)", later.uid) == 0
    await old.execute("SELECT argus.retain_pipeline($1)", pipeline.uid)
    await old.execute("SELECT argus.drop_pipeline($1)", later.uid)


async def test_batches_and_readers_that_are_under_way_survive_the_migration(
    old: asyncpg.Connection, empty: str
) -> None:
    """Some wait half way in a call of before for what the migration holds, and then end well."""
    pipeline = new_pipeline()
    await ensure_as_before(old, pipeline)
    done = asyncio.Event()
    warm = asyncio.Barrier(pipeline.partitions + 1)
    rounds = dict.fromkeys(range(pipeline.partitions), 0)

    async def worker(partition: int) -> None:
        stream = await OldStream.connect(empty)
        while rounds[partition] < 20 or not done.is_set():
            start = rounds[partition] * 4
            part = Slice(pipeline.topic, partition, start, [Event()] * 3, letters("too_old"))
            assert await stream.store(part) == (1, 2)
            rounds[partition] += 1
            if rounds[partition] == 5:
                await warm.wait()
        await stream.connection.close()

    async def others(rest_s: float, *statements: str) -> None:
        connection = await asyncpg.connect(empty)
        while not done.is_set():
            for statement in statements:
                await connection.fetch(statement)
                await asyncio.sleep(random.uniform(0, rest_s))
        await connection.close()

    async with asyncio.TaskGroup() as group:
        for partition in rounds:
            group.create_task(worker(partition))
        group.create_task(others(0, "TABLE argus.ledger", "TABLE argus.audit"))
        group.create_task(others(0, f"SELECT argus.known_ids('{pipeline.topic}', '{{}}', '{{}}')"))
        # In life once a rebalance and once a minute; without a rest one always holds what we want.
        group.create_task(others(0.3, f"SELECT argus.open_partition('{pipeline.topic}', 1, 0)"))
        group.create_task(others(0.3, f"SELECT argus.expire('{pipeline.uid}')"))
        await warm.wait()
        await migrate(old, TIMEOUT_S)
        done.set()
    row = await pipeline_ledger(old, pipeline)
    assert json.loads(row["dead_lettered_by_reason"]) == {"too_old": sum(rounds.values())}
    assert row["balanced"]
    assert (await audit(old, pipeline))["balanced"]


@pytest.mark.parametrize(
    ("relation", "least_s", "most_s"), [("argus.audit", 0.0, 1.0), ("argus.offsets", 0.5, 3.0)]
)
async def test_a_reader_that_takes_long_holds_batches_up_for_a_second_at_most(
    relation: str,
    least_s: float,
    most_s: float,
    old: asyncpg.Connection,
    stream: OldStream,
    empty: str,
) -> None:
    """One of the views not at all; they alone are read in a transaction that takes long."""
    pipeline = new_pipeline()
    await ensure_as_before(old, pipeline)
    reader = await asyncpg.connect(empty)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch(f"TABLE {relation}")
    upgrade = asyncio.create_task(migrate(old, TIMEOUT_S))
    longest, start = 0.0, 0
    until = time.monotonic() + 4
    while time.monotonic() < until:
        began = time.monotonic()
        await stream.store(Slice(pipeline.topic, 0, start, [Event()]))
        longest, start = max(longest, time.monotonic() - began), start + 1
    assert not upgrade.done()
    assert least_s <= longest < most_s
    await transaction.rollback()
    assert (await upgrade).applied != ()
    await reader.close()


async def test_a_database_that_was_upgraded_is_like_one_made_anew(
    old: asyncpg.Connection, migrated: str
) -> None:
    await migrate(old, TIMEOUT_S)
    fresh = await asyncpg.connect(migrated)
    assert await catalog(old) == await catalog(fresh)
    await fresh.close()


async def catalog(connection: asyncpg.Connection) -> list[list[tuple[object, ...]]]:
    """Columns, constraints, indexes, views and routines of schema argus, and who may use them."""
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'argus' ORDER BY 1, 2",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'argus'::regnamespace ORDER BY 1, 2",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'argus' ORDER BY 1",
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'argus' ORDER BY 1",
        "SELECT oid::regprocedure::text, md5(prosrc || coalesce(pg_get_function_result(oid), '')),"
        " prosecdef, proconfig, proacl::text FROM pg_proc"
        " WHERE pronamespace = 'argus'::regnamespace ORDER BY 1",
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'argus'::regnamespace"
        " ORDER BY 1",
    )
    return [[tuple(row) for row in await connection.fetch(query)] for query in queries]


async def test_an_upgraded_pipeline_takes_replays(
    old: asyncpg.Connection, stream: OldStream, empty: str
) -> None:
    pipeline = new_pipeline()
    await ensure_as_before(old, pipeline)
    event = Event()
    letter = {"id": str(event.id), "code": "too_new", "event": "signup"}
    await stream.store(Slice(pipeline.topic, 0, 0, letters=[letter]))
    await migrate(old, TIMEOUT_S)
    new = await asyncpg.connect(empty)
    await new.execute("SELECT argus.create_staging()")
    replays = {0: (f"{pipeline.topic}/0/0", 2)}
    [outcome] = await store(new, Slice(pipeline.topic, 0, 1, [event], replays=replays))
    assert outcome.stored == 1
    assert await old.fetchval("SELECT outcome FROM argus.replays") == "stored"
    await new.close()
