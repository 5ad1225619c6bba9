"""A world of its own for each test of the stream."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from argus_operator.adapters.migrations import migrate
from redis.asyncio import Redis

from tests.integration.stream.world import PASSWORD, World


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(database: str) -> str:
    """URL of the session's database with the control schema in it."""
    connection = await asyncpg.connect(database)
    try:
        await migrate(connection, timeout=60)
        await connection.execute("SELECT argus.ensure_roles($1, $1)", PASSWORD)
    finally:
        await connection.close()
    return database


@pytest.fixture
async def world(kafka: str, redis_url: str, migrated: str) -> AsyncIterator[World]:
    """Engines with a tenant of the test's own."""
    redis = Redis.from_url(redis_url)
    made = World(kafka, redis, redis_url, migrated)
    await made.start()
    yield made
    await made.stop()
    await redis.aclose()
