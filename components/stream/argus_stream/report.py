"""What partitions do, told to SQL: a pipeline that stands still says so, and why.

At once when it changes, and again every ten seconds, because a predecessor's last report may come
after ours. A report may never delay storing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from argus_stream.errors import StreamError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Ledger
from argus_stream.sources import Source, Standing

logger = logging.getLogger(__name__)

LOOP: Final = "report"
REPEAT_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.2
"""Between two reports at least: whatever changes meanwhile is one report."""
_RETRY_SECONDS: Final = 1.0


class Reporter:
    """Keeps what SQL says of our partitions true."""

    def __init__(
        self, ledger: Ledger, partitions: Partitions, watch: Watch, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._partitions = partitions
        self._watch = watch
        self._clock = clock
        self._told: Mapping[Source, Standing] = {}
        self._repeat = 0.0
        self._changed = asyncio.Event()
        partitions.subscribe(self._changed.set)

    async def run(self) -> None:
        """Reports for ever; says once that it cannot."""
        failing = False
        while True:
            self._watch.step(LOOP)
            self._changed.clear()
            try:
                await self.report()
            except StreamError as error:
                if not failing:
                    logger.warning("states are not reported", extra={"reason": str(error)})
                failing = True
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                failing = False
                await self._wait()

    async def report(self) -> None:
        """Tells what changed, and from time to time everything. Raises StoreError."""
        standings = self._partitions.standings()
        repeat = self._clock() >= self._repeat
        news = {
            source: standing
            for source, standing in standings.items()
            if repeat or self._told.get(source) != standing
        }
        if news:
            await self._ledger.report(news)
        self._told = standings
        if repeat:
            self._repeat = self._clock() + REPEAT_SECONDS

    async def _wait(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        self._watch.idle(LOOP)
        try:
            async with asyncio.timeout(max(0.0, self._repeat - self._clock())):
                await self._changed.wait()
        except TimeoutError:
            pass
