"""A real API server and an operator process, shared by the session's tests."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from argus_runtime.registry import RegistryTail

from tests.integration.operator import apiserver, process
from tests.integration.operator.apiserver import ApiServer
from tests.integration.operator.process import Engines, Operator, Proxy


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiServer]:
    """A Kubernetes API server with the CRDs."""
    async with apiserver.serving(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines(kafka: str, redis_url: str, database: str) -> AsyncIterator[Engines]:
    """The engines, the database behind a proxy."""
    url = urlsplit(database)
    proxy = Proxy(apiserver.free_port(), (url.hostname or "127.0.0.1", url.port or 5432))
    await proxy.open()
    yield Engines(kafka, redis_url, database, proxy)
    await proxy.close()


@pytest.fixture(scope="session")
def registry_topic() -> str:
    """A registry of this session's own."""
    return f"argus.registry.{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def operator(
    api: ApiServer,
    engines: Engines,
    registry_topic: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Operator]:
    """A running operator with the rights that the chart gives it."""
    log: Path = tmp_path_factory.mktemp("operator") / "operator.log"
    async with process.running(api, engines, registry_topic, log) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pods(operator: Operator) -> AsyncIterator[RegistryTail]:
    """The registry as a pod reads it."""
    tail = RegistryTail({"bootstrap_servers": operator.engines.kafka}, operator.registry_topic)
    task = asyncio.create_task(tail.run())
    yield tail
    task.cancel()
    await asyncio.wait({task})
