"""The console script `argus-stream`."""

import asyncio
import gc
import sys
from typing import Final

from argus_runtime import lifecycle, logs
from pydantic import ValidationError

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
    """Runs the stream until SIGTERM; gives the exit code, 2 for settings that make no sense."""
    try:
        settings = StreamSettings()
    except ValidationError as error:
        sys.stderr.write(f"argus-stream: {error}\n")
        return 2
    logs.configure(settings.log, "stream")
    return lifecycle.run(lambda stop: _serve(settings, stop))
