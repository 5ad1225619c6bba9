"""The console script `argus-stream`."""

import asyncio
import gc
from typing import Final

from argus_runtime import lifecycle, logs
from argus_runtime.settings import load

from argus_stream.service import Service
from argus_stream.settings import StreamSettings

_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A batch makes tens of thousands of objects that all die with it: collecting often is in vain."""


async def _serve(settings: StreamSettings, stop: asyncio.Event) -> None:
    service = Service(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    await service.run(stop)


def main() -> int:
    """Runs the stream until SIGTERM; gives the exit code."""
    settings = load(StreamSettings, "argus-stream")
    logs.configure(settings.log, "stream")
    return lifecycle.run(lambda stop: _serve(settings, stop))
