"""Kafka's commits and SQL's log ends: what people and ingest's back-pressure see of our progress.

A commit follows SQL's offset and is never ahead of it; nobody reads from it. A log end is a sample,
taken once a second. Neither may ever delay storing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from argus_stream import metrics
from argus_stream.errors import StreamError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Ledger, Offsets
from argus_stream.sources import Source

logger = logging.getLogger(__name__)

LOOP: Final = "mirror"
PERIOD_SECONDS: Final = 1.0
REPEAT_SECONDS: Final = 10.0
"""Unchanged offsets are committed again: a predecessor's late commit may have overwritten ours."""


class Mirror:
    """Shows offsets that were stored."""

    def __init__(
        self,
        offsets: Offsets,
        ledger: Ledger,
        partitions: Partitions,
        watch: Watch,
        clock: Callable[[], float],
    ) -> None:
        self._offsets = offsets
        self._ledger = ledger
        self._partitions = partitions
        self._watch = watch
        self._clock = clock
        self._stored: dict[Source, int] = {}
        self._dirty: set[Source] = set()
        self._repeat = 0.0
        self._topics: set[str] = set()

    def note(self, source: Source, offset: int) -> None:
        """SQL's next offset of this partition is `offset` now."""
        self._stored[source] = offset
        self._dirty.add(source)

    async def run(self) -> None:
        """Shows for ever; says once that it cannot."""
        failing = False
        while True:
            self._watch.step(LOOP)
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                await self.show()
                failing = False
            except StreamError as error:
                if not failing:
                    logger.warning("offsets are not shown", extra={"reason": str(error)})
                failing = True

    async def show(self) -> None:
        """Commits, and samples log ends. Raises StreamError."""
        await self.commit()
        await self._sample()

    async def commit(self) -> None:
        """Commits what changed, and from time to time everything of ours."""
        held = self._partitions.held()
        for gone in self._stored.keys() - held.keys():
            del self._stored[gone]
        self._dirty &= self._stored.keys()
        if self._clock() >= self._repeat:
            self._repeat = self._clock() + REPEAT_SECONDS
            self._dirty |= self._stored.keys()
        if not self._dirty:
            return
        shown = {source: self._stored[source] for source in self._dirty}
        await self._offsets.commit(shown)
        self._dirty -= {source for source in shown if self._stored.get(source) == shown[source]}

    async def _sample(self) -> None:
        for state, count in self._partitions.count().items():
            metrics.PARTITIONS.labels(state).set(count)
        held = self._partitions.held()
        if not held:
            self._show_lag({})
            return
        before = dict(self._stored)
        found = await self._offsets.ends(list(held))
        for source in found.missing:
            self._partitions.absent(source, "the topic is not there")
        ends = {source: self._end(source, end, before) for source, end in found.ends.items()}
        self._show_lag(ends)
        await self._ledger.sample_log_ends(ends)

    def _end(self, source: Source, end: int, before: Mapping[Source, int]) -> int:
        """The log's end as of now: what was stored since brokers were asked is in the log, too.

        An end before what had been stored when they were asked is the truth, and alarming.
        """
        return end if end < before.get(source, 0) else max(end, self._stored.get(source, 0))

    def _show_lag(self, ends: Mapping[Source, int]) -> None:
        lags: dict[str, int] = defaultdict(int)
        for source, end in ends.items():
            stored = self._stored.get(source)
            if stored is not None:
                lags[source.topic] += max(0, end - stored)
        for topic in self._topics - lags.keys():
            metrics.LAG.remove(topic)
        for topic, lag in lags.items():
            metrics.LAG.labels(topic).set(lag)
        self._topics = set(lags)
