"""Real engines for the integration tests: `hack/engines.sh up` starts them on 127.0.0.1."""

import os
import secrets
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

HOST = "127.0.0.1"
PASSWORD = "argus-test"
KAFKA_PORT = int(os.environ.get("ARGUS_TEST_KAFKA_PORT", "29092"))
REDIS_PORT = int(os.environ.get("ARGUS_TEST_REDIS_PORT", "26379"))
POSTGRES_PORT = int(os.environ.get("ARGUS_TEST_POSTGRES_PORT", "25432"))


def _require(port: int, engine: str) -> None:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError as error:
        pytest.fail(f"{engine} does not answer on {HOST}:{port} ({error}): make engines")


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap address of a broker without authentication."""
    _require(KAFKA_PORT, "Kafka")
    return f"{HOST}:{KAFKA_PORT}"


@pytest.fixture(scope="session")
def redis_url() -> str:
    """URL of a Valkey, password included."""
    _require(REDIS_PORT, "Valkey")
    return f"redis://:{PASSWORD}@{HOST}:{REDIS_PORT}/0"


def _database_url(name: str) -> str:
    return f"postgresql://argus:{PASSWORD}@{HOST}:{POSTGRES_PORT}/{name}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database() -> AsyncIterator[str]:
    """URL of an empty database of this session's own; dropped at the end."""
    _require(POSTGRES_PORT, "PostgreSQL")
    name = f"it_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(_database_url("argus"))
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield _database_url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
