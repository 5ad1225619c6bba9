"""A world of its own for each test of the stream."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from argus_operator.adapters.migrations import migrate
from redis.asyncio import Redis

from tests.integration.stream.world import PASSWORD, Database, World


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(database: str) -> AsyncIterator[Database]:
    """The session's database with the control schema, and a user with argus_stream's rights.

    A user of its own: roles belong to the whole server, and so does argus_stream's
    password, which others may set.
    """
    user = f"stream_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(database)
    try:
        await migrate(connection, timeout=60)
        await connection.execute("SELECT argus.ensure_roles($1, $1)", PASSWORD)
        await connection.execute(
            f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' IN ROLE argus_stream"
        )
        yield Database(database, user)
        await connection.execute(f"DROP OWNED BY {user} CASCADE")
        await connection.execute(f"DROP ROLE {user}")
    finally:
        await connection.close()


@pytest.fixture
async def world(kafka: str, redis_url: str, migrated: Database) -> AsyncIterator[World]:
    """Engines with a tenant of the test's own."""
    redis = Redis.from_url(redis_url)
    made = World(kafka, redis, redis_url, migrated)
    await made.start()
    yield made
    await made.stop()
    await redis.aclose()
