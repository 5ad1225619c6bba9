"""Takes one part of the installation away, and gives it back; and load that goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from argus_cli import database, log
from argus_cli.errors import UnreachableError
from argus_cli.settings import Settings

from tests.chaos import node, pods
from tests.chaos.load import Load
from tests.chaos.node import kubectl
from tests.e2e.kubectl import NAMESPACE

WORKLOADS: Final = {
    "kafka": "statefulset/argus-kafka",
    "valkey": "statefulset/argus-valkey",
    "postgres": "statefulset/argus-postgres",
    "stream": "deployment/argus-stream",
}
GONE_S: Final = 90.0
_LOOK_S: Final = 0.2

Found = TypeVar("Found")


async def eventually(
    look: Callable[[], Awaitable[Found | None]], within: float, what: str
) -> Found:
    """What `look` gives as soon as that is not None; fails after `within` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while (found := await look()) is None:
        assert loop.time() < deadline, f"not within {within:.0f} s: {what}"
        await asyncio.sleep(_LOOK_S)
    return found


@asynccontextmanager
async def away(part: str) -> AsyncIterator[None]:
    """The part has no pod within the block; after it, it is asked for again but not waited for."""
    await kubectl("scale", WORKLOADS[part], "--replicas=0", "-n", NAMESPACE)
    try:
        await eventually(lambda: _gone(part), GONE_S, f"{part} is gone")
        yield
    finally:
        await kubectl("scale", WORKLOADS[part], "--replicas=1", "-n", NAMESPACE)


async def _gone(part: str) -> bool | None:
    return None if await pods.look(part) else True


async def answers(part: str, port: int, within: float = 120.0) -> float:
    """When the part's new pod takes connections again, in seconds of the loop's clock."""

    async def address() -> str | None:
        return next((pod.address for pod in await pods.look(part) if pod.address), None)

    where = await eventually(address, within, f"{part} has an address")
    attempt = f"timeout 0.2 bash -c '</dev/tcp/{where}/{port}' 2>/dev/null"
    await node.shell(f"until {attempt}; do sleep 0.05; done", timeout=within)
    return asyncio.get_running_loop().time()


async def reachable(settings: Settings, within: float = 60.0) -> None:
    """Waits until the books can be read from here: a Service learns late that its pod is ready."""

    async def read() -> bool | None:
        try:
            async with (
                database.reading(settings.require_database()) as held,
                log.reading(settings.require_kafka()) as records,
            ):
                await records.ends((line.topic, line.partition) for line in await held.lines())
                return True
        except UnreachableError:
            return None

    await eventually(read, within, "database and log can be read")


@asynccontextmanager
async def under(load: Load, within: float) -> AsyncIterator[None]:
    """The load runs within the block; then, for `within` seconds, until all is acknowledged."""
    running = asyncio.create_task(load.run())
    try:
        yield
        load.stop()
        async with asyncio.timeout(within):
            await running
    finally:
        running.cancel()
        await asyncio.wait({running})
