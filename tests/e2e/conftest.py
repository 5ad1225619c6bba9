"""The installation under test, read from the environment that `make env` prints.

These tests delete pods, rows and letters, so they refuse to run on any cluster but the test's own.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest
from argus_cli import database as sql
from argus_cli import live as counters
from argus_cli import log as kafka
from argus_cli.database import Database
from argus_cli.live import Live
from argus_cli.log import Log
from argus_cli.settings import Settings

from tests.e2e import tenants
from tests.e2e.books import database_url
from tests.e2e.kubectl import NAMESPACE, get, kubectl
from tests.e2e.tenants import Tenant

CONTEXT = os.environ.get("ARGUS_E2E_CONTEXT", "kind-argus-test")
VARIABLES = (
    *("KUBECONFIG", "ARGUS_URL", "ARGUS_API_KEY", "ARGUS_DATABASE_URL", "ARGUS_REDIS_URL"),
    *("ARGUS_KAFKA", "ARGUS_KAFKA_USERNAME", "ARGUS_KAFKA_PASSWORD"),
)
GONE_S = 90

MakeTenant = Callable[..., Tenant]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture(scope="session", autouse=True)
def settings() -> Settings:
    """Where the installation is; fails where that is not said, or is not the test cluster."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        pytest.exit(
            f"{', '.join(missing)} not set. Install ARGUS on the test cluster and take its "
            'environment:  make up CLUSTER=argus-test && eval "$(make -s env CLUSTER=argus-test)"',
            returncode=2,
        )
    context = kubectl("config", "current-context").strip()
    if context != CONTEXT:
        pytest.exit(
            f"the kubectl context is {context!r}, not {CONTEXT!r}: these tests delete pods and "
            "rows. ARGUS_E2E_CONTEXT names another cluster that may be treated so.",
            returncode=2,
        )
    return Settings()


@pytest.fixture(scope="session")
def url(settings: Settings) -> str:
    """Base URL of ingest."""
    return settings.require_url()


@pytest.fixture(scope="session")
def made_namespaces() -> Iterator[list[str]]:
    """Namespaces of this session; at its end all of them must go away."""
    made: list[str] = []
    yield made
    for namespace in made:
        tenants.remove(namespace)
    tenants.gone(made, GONE_S)


@pytest.fixture(scope="session")
def make_tenant(url: str, made_namespaces: list[str]) -> MakeTenant:
    """Makes a Ready tenant, with the given spec, in a new namespace."""

    def make(**spec: Any) -> Tenant:
        namespace = tenants.new_namespace()
        made_namespaces.append(namespace)
        return tenants.apply(url, namespace, **spec)

    return make


@pytest.fixture(scope="module")
def tenant(make_tenant: MakeTenant) -> Tenant:
    """A tenant that the tests of one module share."""
    return make_tenant()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The books in SQL, as `argus ledger` reads them."""
    async with sql.reading(database_url(settings)) as reading:
        yield reading


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[Log]:
    """The log and the dead letters, as `argus ledger` reads them."""
    async with kafka.reading(settings.require_kafka()) as reading:
        yield reading


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Live]:
    """The live counters."""
    async with counters.reading(settings.require_redis()) as reading:
        yield reading


@pytest.fixture
async def reader(settings: Settings) -> AsyncIterator[Connection]:
    """A connection as the read-only role that people are given."""
    connection = await asyncpg.connect(database_url(settings), timeout=10)
    yield connection
    await connection.close()


@pytest.fixture
async def superuser(settings: Settings) -> AsyncIterator[Connection]:
    """A connection that may do what nobody should: tamper."""
    data = get("secret", "argus-engines", "-n", NAMESPACE)["data"]
    password = tenants.decoded(data["postgres-password"])
    connection = await asyncpg.connect(
        database_url(settings), user="argus", password=password, timeout=10
    )
    yield connection
    await connection.close()
