"""The stream as a process of its own, which can be killed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.integration.stream.world import PASSWORD, World


def variables(world: World) -> dict[str, str]:
    """The settings of a stream for this world, quick to notice, as its process reads them."""
    database = urlsplit(world.database)
    return {
        "ARGUS_KAFKA__BOOTSTRAP": world.bootstrap,
        "ARGUS_REDIS__URL": world.redis_url,
        "ARGUS_DATABASE__HOST": database.hostname or "",
        "ARGUS_DATABASE__PORT": str(database.port),
        "ARGUS_DATABASE__NAME": database.path.removeprefix("/"),
        "ARGUS_DATABASE__USER": world.user,
        "ARGUS_DATABASE__PASSWORD": PASSWORD,
        "ARGUS_REGISTRY_TOPIC": world.registry_topic,
        "ARGUS_OPS__HOST": "127.0.0.1",
        "ARGUS_OPS__PORT": "0",
        "ARGUS_MEMBERSHIP__INTERVAL": "0.2",
        "ARGUS_MEMBERSHIP__TTL": "2",
        "ARGUS_LOG__LEVEL": "WARNING",
    }


@asynccontextmanager
async def process(world: World, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The console script as a process of its own, killed at the end if it still lives."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from argus_stream.main import main; sys.exit(main())",
        env=os.environ | variables(world) | changes,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
