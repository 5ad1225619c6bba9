"""A database with the control schema, and connections to it by role."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from argus_operator.adapters.migrations import migrate

from tests.integration.db.support import (
    PASSWORD,
    Connect,
    Pipeline,
    as_role,
    ensure,
    new_pipeline,
    staging,
    with_database,
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(database: str) -> str:
    """URL of the session's database, with the control schema and its roles."""
    connection = await asyncpg.connect(database)
    try:
        await migrate(connection, timeout=60)
        await connection.execute("SELECT argus.ensure_roles($1, $1)", PASSWORD)
    finally:
        await connection.close()
    return database


@pytest.fixture
async def empty(database: str) -> AsyncIterator[str]:
    """URL of an empty database of the test's own."""
    name = f"it_{secrets.token_hex(4)}"
    server = await asyncpg.connect(database)
    try:
        await server.execute(f"CREATE DATABASE {name}")
        yield with_database(database, name)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


@pytest.fixture
async def connect_as(migrated: str) -> AsyncIterator[Connect]:
    """Connects as a role, or as the owner of the database; all are closed after the test."""
    opened: list[asyncpg.Connection] = []

    async def connect(role: str | None) -> asyncpg.Connection:
        url = migrated if role is None else as_role(migrated, role)
        connection = await asyncpg.connect(url, command_timeout=60)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        await connection.close()


@pytest.fixture
async def admin(connect_as: Connect) -> asyncpg.Connection:
    """The operator's connection."""
    return await connect_as(None)


@pytest.fixture
async def stream(connect_as: Connect) -> asyncpg.Connection:
    """A connection of argus_stream with its staging table."""
    return await staging(connect_as)


@pytest.fixture
async def pipeline(admin: asyncpg.Connection) -> Pipeline:
    """A pipeline of the test's own, four partitions at offset 0."""
    made = new_pipeline()
    await ensure(admin, made)
    return made
