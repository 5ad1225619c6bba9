"""What the scenarios share: where the installation is, how long they take, and their figures."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest
from argus_cli.settings import Settings

from tests.chaos import pods, tenants
from tests.chaos.tenants import Tenant

Say: TypeAlias = Callable[[str], None]
MakeTenant: TypeAlias = Callable[..., Awaitable[Tenant]]
Reader: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints every figure once more, together."""
    figures = config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture
def say(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a figure at once, and with all others at the end."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    figures = request.config.stash.setdefault(_FIGURES, [])

    def say(text: str) -> None:
        figures.append(f"{name}: {text}")
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)

    return say


@pytest.fixture
def seed(say: Say) -> int:
    """Of the load; says which."""
    drawn = random.SystemRandom().randrange(1 << 32)
    say(f"seed {drawn}")
    return drawn


@pytest.fixture(autouse=True)
async def whole(settings: Settings) -> AsyncIterator[None]:
    """Every pod is ready before and after, and none has restarted by itself meanwhile."""
    before = {pod.uid: pod.restarts for pod in await pods.all_ready()}
    yield
    after = await pods.all_ready()
    restarted = [pod for pod in after if pod.restarts > before.get(pod.uid, 0)]
    assert restarted == []


@pytest.fixture(scope="session")
def made() -> Iterator[list[str]]:
    """Namespaces of this session; at its end all of them must go away."""
    namespaces: list[str] = []
    yield namespaces
    tenants.remove(namespaces)


@pytest.fixture
def make_tenant(settings: Settings, made: list[str]) -> MakeTenant:
    """Makes a Ready tenant; `spec` and `pipeline` replace fields of the two resources."""

    async def make(**fields: Any) -> Tenant:
        tenant = await tenants.make(settings.require_url(), **fields)
        made.append(tenant.namespace)
        return tenant

    return make


@pytest.fixture
async def reader(settings: Settings) -> AsyncIterator[Reader]:
    """A connection as the read-only role that people are given."""
    target = settings.require_database()
    assert isinstance(target, str)
    connection = await asyncpg.connect(target, timeout=10)
    yield connection
    await connection.close()
