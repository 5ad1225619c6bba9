import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
from argus_cli import database as sql
from argus_cli.database import Database
from argus_cli.errors import UnreachableError
from argus_cli.ledger import Verdict
from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_operator.adapters.migrations import migrate

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
NOW = datetime.now(UTC)
LETTER = uuid4()


@pytest.fixture
async def owner(database: str) -> AsyncIterator[Connection]:
    """The role that owns schema `argus`, which is there."""
    connection = await asyncpg.connect(database)
    try:
        await migrate(connection, timeout=30)
        await connection.execute("select argus.ensure_roles('argus-test', 'argus-test')")
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def reader(owner: Connection, database: str) -> AsyncIterator[Database]:
    """The console's view, as the role that people are given."""
    address, _, name = database.partition("@")[2].partition("/")
    async with sql.reading(f"postgresql://argus_reader:argus-test@{address}/{name}") as view:
        yield view


@pytest.fixture
async def pipeline(owner: Connection) -> Pipeline:
    """A pipeline of two partitions, of which the stream has opened the first."""
    uid = secrets.token_hex(4)
    topic, schema = f"argus.cli.web.{uid}", f"t_cli_shop_{uid}"
    tenant = f"cli-{uid}.shop.{uid}"
    await owner.execute("select argus.ensure_tenant($1, $2, 'shop', $3)", tenant, uid, schema)
    await owner.execute(
        "select argus.ensure_pipeline($1, $2, 'web', $3, $4, 2, '1 day', '30 days', '1 day')",
        *(tenant, uid, topic, f"{topic}.dead"),
    )
    await owner.execute("select argus.open_partition($1, 0, 0)", topic)
    return Pipeline(
        uid=uid,
        name="web",
        topic=TopicName(topic),
        dead_letter_topic=TopicName(f"{topic}.dead"),
        partitions=2,
        schema=schema,
        table="events_web",
        window=1,
        dedupe_window=1,
        retention_bytes=1,
        retention_seconds=1,
    )


async def store(owner: Connection, pipeline: Pipeline, ids: list[UUID]) -> None:
    """Two rows, one letter, and that of its replay, as the stream stores them."""
    await owner.execute("select argus.create_staging()")
    records = [
        (1, offset, event_id, NOW, NOW, False, "click", None, None, None, "{}")
        for offset, event_id in enumerate(ids)
    ]
    await owner.copy_records_to_table("staged", schema_name="pg_temp", records=records)
    letter = {"slice": 1, "offset": len(ids), "code": "invalid_json", "id": str(LETTER)}
    again = letter | {
        "offset": len(ids) + 1,
        "attempt": 2,
        "root": f"{pipeline.topic}/0/{len(ids)}",
    }
    await owner.fetch(
        "select * from argus.store($1, '{0}', '{0}', $2, '{0}', '{0}', '{0}', $3)",
        *([pipeline.topic], [len(ids) + 2], json.dumps([letter, again])),
    )


async def test_the_ledger_has_every_partition_also_one_that_no_stream_has_opened(
    owner: Connection, reader: Database, pipeline: Pipeline
) -> None:
    await store(owner, pipeline, [uuid4(), uuid4()])
    await owner.execute("select argus.sample_log_end($1, '{0}', '{5}')", [pipeline.topic])

    opened, unopened = await reader.lines(pipeline.uid, "shop")

    assert (opened.partition, opened.records, opened.in_flight) == (0, 5, 1)
    assert (opened.stored, opened.dead_lettered, opened.verdict) == (2, 2, Verdict.BEHIND)
    assert (unopened.partition, unopened.records, unopened.settled) == (1, 0, 0)


async def test_a_snapshot_holds_what_an_audit_compares(
    owner: Connection, reader: Database, pipeline: Pipeline
) -> None:
    await store(owner, pipeline, [uuid4(), uuid4()])

    snapshot = await reader.snapshot(pipeline.uid, "shop")

    [counted] = snapshot.counted
    assert (counted.pipeline, counted.rows, counted.letters_expired) == ("web", 2, 0)
    recorded, replayed = sorted(snapshot.recorded[pipeline.topic].values(), key=lambda x: x.key)
    assert (recorded.key, recorded.code) == (f"{pipeline.topic}/0/2", "invalid_json")
    assert (recorded.id, replayed.id) == (LETTER, None)
    assert abs(snapshot.now - recorded.at) < timedelta(minutes=5)


async def test_one_tenant_is_shown_alone(
    owner: Connection, reader: Database, pipeline: Pipeline
) -> None:
    assert {line.topic for line in await reader.lines(pipeline.uid, "shop")} == {pipeline.topic}
    assert pipeline.topic in {line.topic for line in await reader.lines()}
    assert await reader.lines(pipeline.uid, "nobody") == []


async def test_events_are_found_by_id_and_counted_by_time_of_receipt(
    owner: Connection, reader: Database, pipeline: Pipeline
) -> None:
    ids = [uuid4(), uuid4()]
    await store(owner, pipeline, ids)
    second = NOW.replace(microsecond=0)

    found = await reader.received(pipeline, NOW - timedelta(hours=1), [str(ids[0]), str(uuid4())])
    counted = await reader.between(pipeline, second, second + timedelta(seconds=1))
    before = await reader.between(pipeline, second - timedelta(seconds=1), second)

    assert (found.rows, found.first, found.last) == (1, NOW, NOW)
    assert counted == {"click": 2}
    assert before == {}


@pytest.mark.parametrize("url", ["postgresql://x@127.0.0.1:1/x", "mysql://x"])
async def test_a_database_that_cannot_be_reached_is_said_plainly(url: str) -> None:
    with pytest.raises(UnreachableError, match="ARGUS_DATABASE_URL"):
        async with sql.reading(url):
            pytest.fail("nobody listens there")


async def test_a_database_that_goes_away_in_between_is_an_error_for_people(
    owner: Connection, database: str
) -> None:
    async def ask_twice() -> None:
        async with sql.reading(database) as view:
            await view.lines()
            await owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'argus-cli' and datname = current_database()"
            )
            await view.lines()

    with pytest.raises(UnreachableError, match="what ARGUS keeps"):
        await ask_twice()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 21; another operation is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_the_client_calls_it_is_an_error_for_people(
    database: str, error: Exception
) -> None:
    with pytest.raises(UnreachableError, match=type(error).__name__):
        async with sql.reading(database):
            raise error


async def test_a_database_without_argus_is_an_error_for_people(database: str) -> None:
    address, _, _ = database.rpartition("/")
    with pytest.raises(UnreachableError, match=r"argus\.\w+.* does not exist"):
        async with sql.reading(f"{address}/postgres") as view:
            await view.lines()
