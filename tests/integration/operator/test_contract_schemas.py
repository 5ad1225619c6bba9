"""What the logic relies on of the database: held by the unit tests' fake and a real server."""

import dataclasses
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from argus_contract.states import State
from argus_operator import schemas
from argus_operator.adapters.postgres import Database
from argus_operator.errors import BusyError, RefusedError, UnavailableError
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.ports import Schemas

from tests.integration.operator.contracts import BOTH, some_tenant, unused
from tests.unit.operator.fakes import FakeSchemas

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

NOW = datetime.now(UTC)
PASSWORD = "argus-test"
"""Of the shared server's roles, in all tests."""


def tenant_meta() -> Meta:
    uid = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}"
    return Meta(name="shop", namespace="n", uid=uid, creation_timestamp=NOW)


def tables(tenant: schemas.TenantSchema, uid: str | None = None) -> schemas.PipelineTables:
    meta = Meta(
        name="web-app",
        namespace="n",
        uid=uid or f"{secrets.token_hex(4)}-{secrets.token_hex(2)}",
        creation_timestamp=NOW,
    )
    asked = PipelineSpec.model_validate({"tenantRef": {"name": "shop"}})
    return schemas.pipeline_tables(tenant, meta, asked, 2)


async def provisioned(database: Schemas) -> tuple[schemas.TenantSchema, schemas.PipelineTables]:
    """A new tenant and its one pipeline, both made."""
    tenant = schemas.tenant_schema(tenant_meta())
    wanted = tables(tenant)
    await database.ensure_tenant(tenant)
    await database.ensure_pipeline(wanted)
    return tenant, wanted


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[Database]:
    """The adapter over a migrated database."""
    url = urlsplit(database)
    options = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.path.removeprefix("/"),
    }
    made = Database(options, 20)
    await made.open()
    try:
        await made.prepare(PASSWORD, PASSWORD)
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


class TestSchemas:
    @pytest_asyncio.fixture(loop_scope="session")
    async def database_port(self, kind: str, database: str) -> AsyncIterator[Schemas]:
        async with opened(database) as real:
            yield FakeSchemas() if kind == "fake" else real

    @BOTH
    async def test_what_was_ensured_is_in_step(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        wanted = tables(tenant)
        assert not schemas.in_step(wanted, await database_port.observe_pipeline(wanted.uid))
        for _ in range(2):
            await database_port.ensure_tenant(tenant)
            await database_port.ensure_pipeline(wanted)

        observed = await database_port.observe_pipeline(wanted.uid)
        assert schemas.in_step(wanted, observed)
        assert observed.events_table == wanted.table
        schemas.check_owner(wanted, observed, None)

    @BOTH
    async def test_sightings_stay_as_they_are_while_nothing_changes(
        self, database_port: Schemas
    ) -> None:
        tenant, wanted = await provisioned(database_port)
        ours = (str(tenant.tenant_id), wanted.uid)
        before = await database_port.sightings()
        await database_port.ensure_tenant(tenant)
        await database_port.ensure_pipeline(wanted)
        after = await database_port.sightings()

        assert all(before[key] is not None for key in ours)
        assert [before[key] for key in ours] == [after[key] for key in ours]

    @BOTH
    async def test_sightings_tell_of_a_change_and_leave_out_what_is_retained(
        self, database_port: Schemas
    ) -> None:
        tenant, wanted = await provisioned(database_port)
        before = await database_port.sightings()
        await database_port.ensure_pipeline(
            dataclasses.replace(wanted, chunk_interval=timedelta(hours=3))
        )
        assert (await database_port.sightings())[wanted.uid] != before[wanted.uid]

        await database_port.retain_tenant(tenant.tenant_id)
        assert not {tenant.tenant_id, wanted.uid} & (await database_port.sightings()).keys()

    @BOTH
    async def test_a_pipeline_needs_its_tenant(self, database_port: Schemas) -> None:
        with pytest.raises(BusyError):
            await database_port.ensure_pipeline(tables(schemas.tenant_schema(tenant_meta())))

    @BOTH
    @pytest.mark.parametrize("crossed", [False, True])
    async def test_a_topic_is_one_pipelines_alone_whatever_its_part(
        self, database_port: Schemas, crossed: bool
    ) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        await database_port.ensure_tenant(tenant)
        held, letters, free = (unused("") for _ in range(3))
        first = dataclasses.replace(tables(tenant), topic=held, dead_letter_topic=letters)
        events, dead = (free, held) if crossed else (held, free)
        second = dataclasses.replace(
            tables(tenant), pipeline="other", topic=events, dead_letter_topic=dead
        )
        await database_port.ensure_pipeline(first)
        with pytest.raises(RefusedError, match=r"names? other topics"):
            await database_port.ensure_pipeline(second)

        await database_port.retain_pipeline(first.uid)
        with pytest.raises(RefusedError, match=r"names? other topics"):
            await database_port.ensure_pipeline(second)
        await database_port.drop_pipeline(first.uid)
        await database_port.ensure_pipeline(second)

    @BOTH
    async def test_what_was_retained_is_nobodys_again(self, database_port: Schemas) -> None:
        _, wanted = await provisioned(database_port)
        for _ in range(2):
            await database_port.retain_pipeline(wanted.uid)

        observed = await database_port.observe_pipeline(wanted.uid)
        assert observed.retained
        assert observed.events_table == f"{wanted.table}_{wanted.uid[:8]}"
        with pytest.raises(RefusedError):
            await database_port.ensure_pipeline(wanted)

    @BOTH
    async def test_a_retained_tenant_retains_its_pipelines(self, database_port: Schemas) -> None:
        tenant, wanted = await provisioned(database_port)
        await database_port.retain_tenant(tenant.tenant_id)

        assert (await database_port.observe_pipeline(wanted.uid)).retained
        with pytest.raises(RefusedError):
            await database_port.ensure_tenant(tenant)

    @BOTH
    async def test_dropping_a_tenant_spares_what_was_retained(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        kept, dropped = tables(tenant), tables(tenant)
        await database_port.ensure_tenant(tenant)
        await database_port.ensure_pipeline(kept)
        await database_port.retain_pipeline(kept.uid)
        await database_port.ensure_pipeline(dropped)
        await database_port.drop_tenant(tenant.tenant_id)

        assert (await database_port.observe_pipeline(kept.uid)).events_table is not None
        assert (await database_port.observe_pipeline(dropped.uid)).events_table is None

    @BOTH
    async def test_dropping_what_is_absent_is_fine(self, database_port: Schemas) -> None:
        await database_port.drop_pipeline("0" * 36)
        await database_port.retain_pipeline("0" * 36)
        await database_port.drop_tenant(some_tenant())
        await database_port.retain_tenant(some_tenant())

    @BOTH
    async def test_of_a_new_topic_nothing_was_read(self, database_port: Schemas) -> None:
        assert await database_port.position(unused()) == 0

    @BOTH
    async def test_a_pipeline_has_books_from_the_first_moment_until_it_is_retained(
        self, database_port: Schemas
    ) -> None:
        _, wanted = await provisioned(database_port)
        (books,) = await database_port.books(wanted.uid)

        assert (books.namespace, books.tenant, books.pipeline) == ("n", "shop", "web-app")
        assert (books.records, books.stored, books.in_flight, books.lost) == (0, 0, 0, 0)
        assert books.topic == wanted.topic
        assert books.balanced
        assert wanted.uid in {found.uid for found in await database_port.books()}

        await database_port.retain_pipeline(wanted.uid)
        assert await database_port.books(wanted.uid) == []

    @BOTH
    async def test_an_audit_of_what_nothing_was_sent_to_is_balanced(
        self, database_port: Schemas
    ) -> None:
        _, wanted = await provisioned(database_port)
        found = await database_port.audit(wanted.uid, 10)
        await database_port.drop_pipeline(wanted.uid)

        assert found is not None
        assert found.balanced
        assert await database_port.audit(wanted.uid, 10) is None


async def test_the_ledger_is_read_as_the_stream_wrote_it(database: str) -> None:
    async with sql(database) as connection, opened(database) as made:
        _, wanted = await provisioned(made)
        for partition, offset in ((0, 3), (1, 7), (0, 5)):
            await connection.execute(
                "SELECT argus.open_partition($1, $2, $3)", wanted.topic, partition, offset
            )
        await connection.execute(
            "SELECT argus.sample($1, '{0,1}', '{9,7}', $2)",
            [wanted.topic] * 2,
            [NOW - timedelta(minutes=1), None],
        )
        await connection.execute(
            "SELECT argus.report_states($1, '{0,1}', '{open,guarded}', '{NULL,why}')",
            [wanted.topic] * 2,
        )
        (books,) = await made.books(wanted.uid)

        assert await made.position(wanted.topic) == 7
        assert (books.log_start, books.log_end, books.records) == (10, 16, 6)
        assert (books.lost, books.in_flight, books.stored) == (2, 4, 0)
        assert books.oldest_unread_at == NOW - timedelta(minutes=1)
        assert books.sampled_at is not None
        assert (books.state, books.reason) == (State.GUARDED, "why")
        assert (books.balanced, books.by_reason) == (False, {})


@pytest.mark.parametrize("part", ["events", "rollup", "ids"])
async def test_sightings_tell_of_a_table_that_was_dropped_or_made_anew(
    database: str, part: str
) -> None:
    async with sql(database) as connection, opened(database) as made:
        tenant, wanted = await provisioned(made)
        before = (await made.sightings())[wanted.uid]
        table = wanted.table.replace("events", part, 1)
        await connection.execute(f"DROP TABLE {tenant.schema}.{table}")
        assert (await made.sightings())[wanted.uid] is None

        await made.ensure_pipeline(wanted)
        after = (await made.sightings())[wanted.uid]
        assert after is not None
        assert after != before


async def test_sightings_tell_of_hands_in_a_tenants_schema_role_and_chunks(database: str) -> None:
    async with sql(database) as connection, opened(database) as made:
        tenant, wanted = await provisioned(made)
        before = (await made.sightings())[wanted.uid]
        await connection.execute(
            f"SELECT set_chunk_time_interval('{tenant.schema}.{wanted.table}', interval '1 hour')"
        )
        assert (await made.sightings())[wanted.uid] not in (None, before)

        role = (await made.observe_pipeline(wanted.uid)).role
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        assert (await made.sightings())[tenant.tenant_id] is None
        await made.ensure_tenant(tenant)
        await connection.execute(f"DROP SCHEMA {tenant.schema} CASCADE")
        assert (await made.sightings())[tenant.tenant_id] is None


async def test_an_audit_counts_what_is_really_there(database: str) -> None:
    async with sql(database) as connection, opened(database) as made:
        tenant, wanted = await provisioned(made)
        await connection.execute(
            f"INSERT INTO {tenant.schema}.{wanted.table} (time, id, received_at, source_offset,"
            " source_partition, event) VALUES (now(), gen_random_uuid(), now(), 0, 0, 'click')"
        )
        found = await made.audit(wanted.uid, 10)

        assert found is not None
        assert not found.balanced
        assert "rows 1" in found.message


async def test_an_audit_ends_in_time_and_its_statement_too(database: str) -> None:
    async with sql(database) as connection, opened(database) as made:
        tenant, wanted = await provisioned(made)
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {tenant.schema}.{wanted.table}")
            with pytest.raises(UnavailableError, match="statement timeout"):
                await made.audit(wanted.uid, 0.2)
        assert await made.audit(wanted.uid, 10) is not None


async def test_a_database_that_is_not_migrated_is_unavailable_and_says_why(database: str) -> None:
    made = Database({"host": "127.0.0.1", "port": 1, "user": "x", "timeout": 2}, 2)
    await made.open()
    with pytest.raises(UnavailableError, match="have not run"):
        await made.observe_pipeline("x")
    with pytest.raises(UnavailableError):
        await made.prepare("a", "b")
    with pytest.raises(UnavailableError, match="not migrated yet"):
        await made.observe_pipeline("x")
    await made.close()


async def test_a_database_that_was_made_anew_is_found_out_and_migrated_again(
    database: str,
) -> None:
    name = f"it_anew_{secrets.token_hex(4)}"
    server = await asyncpg.connect(database)
    await server.execute(f"CREATE DATABASE {name}")
    async with opened(urlsplit(database)._replace(path=f"/{name}").geturl()) as made:
        await made.observe_pipeline("x")
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {name}")
        while made.migrated:
            with pytest.raises(UnavailableError):
                await made.observe_pipeline("x")
        assert "again" in made.problem

        await made.prepare(PASSWORD, PASSWORD)
        assert await made.observe_pipeline("x") == schemas.PipelineObserved()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()
