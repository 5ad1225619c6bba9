"""The console held against real engines, with tenants as the stream's tests make them."""

import io
from collections.abc import AsyncIterator, Callable

import pytest
from argus_cli import database as sql
from argus_cli import log as kafka_log
from argus_cli.database import Database
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_runtime.settings import KafkaSettings
from pydantic import SecretStr
from rich.console import Console

from tests.integration.stream.conftest import migrated, world
from tests.integration.stream.world import World

__all__ = ["migrated", "world"]

Printed = Callable[[], str]


@pytest.fixture
def settings(world: World) -> Settings:
    """The world as the console's environment names it."""
    return Settings(
        kafka=world.bootstrap,
        database_url=SecretStr(world.database),
        redis_url=SecretStr(world.redis_url),
        registry_topic=world.registry_topic,
    )


@pytest.fixture
async def view(world: World) -> AsyncIterator[Database]:
    """The world's database as the console reads it."""
    async with sql.reading(world.database) as found:
        yield found


@pytest.fixture
async def records(world: World) -> AsyncIterator[Log]:
    """The world's Kafka as the console reads it."""
    async with kafka_log.reading(KafkaSettings(bootstrap=world.bootstrap)) as found:
        yield found


@pytest.fixture
def console() -> Console:
    """A console that nobody sees; `printed` has what it wrote."""
    return Console(file=io.StringIO(), width=240, highlight=False)


@pytest.fixture
def printed(console: Console) -> Printed:
    """What was written to the console so far."""
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue
