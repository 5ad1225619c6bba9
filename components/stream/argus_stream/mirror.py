"""Kafka's commits and SQL's samples: what people and ingest's back-pressure see of our progress.

A commit follows SQL's offset and is never ahead of it; nobody reads from it. Once a second it is
sampled where logs end and how old the oldest unread records are. None of it may delay storing.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from argus_contract.times import from_micros

from argus_stream import metrics
from argus_stream.errors import StreamError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Ledger, Offsets
from argus_stream.slices import Slice
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
        unsettled: Callable[[], Iterable[Slice]],
    ) -> None:
        """`unsettled` gives what was read and may not be stored yet, each lease's in order."""
        self._offsets = offsets
        self._ledger = ledger
        self._partitions = partitions
        self._watch = watch
        self._clock = clock
        self._unsettled = unsettled
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
        self._notice_ends(ends)
        await self._ledger.sample(ends, self._oldest())

    def _notice_ends(self, ends: Mapping[Source, int]) -> None:
        """Where all is stored that the log holds, nothing can be wrong any more."""
        for source, end in ends.items():
            if self._stored.get(source) == end:
                self._partitions.recovered(source)

    def _oldest(self) -> dict[Source, datetime]:
        """When the oldest record of each partition was produced that was read and is not stored."""
        found: dict[Source, datetime] = {}
        for piece in self._unsettled():
            source = piece.lease.source
            if source not in found and piece.lease.live and piece.end > self._stored.get(source, 0):
                produced = _produced(piece)
                if produced is not None:
                    found[source] = produced
        return found

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


def _produced(piece: Slice) -> datetime | None:
    """A stranger may have written any number for a time: it is none, or at most now."""
    oldest = piece.oldest
    if oldest is None or oldest <= 0:
        return None
    return from_micros(min(oldest * 1000, time.time_ns() // 1000))
