"""Live counters: Redis follows SQL, a little later, and never holds storing up.

Invariant, for each pipeline: what Redis counts is the sum of the deltas of all stored slices before
the fences that Redis holds. A slice is applied only if it begins at its fence; whoever finds the
fence elsewhere catches up from the outbox, which the storing function wrote in the transaction that
stored the slice; whoever finds no fence, or one older than the outbox, puts a whole window of one
SQL snapshot, fences included, in its place. That may throw Redis back behind what another process
has just applied, and keeps the invariant all the same; so after it every partition of the pipeline
catches up, whoever owns it (ADR 0005).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from argus_contract import redis_keys, sizes

from argus_stream import metrics
from argus_stream.backoff import Backoff
from argus_stream.errors import StreamError, TableError
from argus_stream.health import Watch
from argus_stream.ports import Change, Counters, LiveWindow, Outbox, OutboxEntry
from argus_stream.sources import Lease, Route, Source

logger = logging.getLogger(__name__)

LOOP: Final = "count"
_QUEUE_CHANGES: Final = 256
"""Slices of one partition kept for Redis; beyond it, the outbox keeps them."""
_APPLY_CHANGES: Final = 64
_PAGE_ENTRIES: Final = 512
_CHECK_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3

_decode: Final = msgspec.json.Decoder(dict[int, dict[str, int]]).decode


@dataclass(slots=True, eq=False)
class _Track:
    """What we know of one partition's counting."""

    route: Route
    target: int
    """SQL's next offset, as far as we stored it ourselves."""
    queue: deque[OutboxEntry] = field(default_factory=deque)
    behind: bool = True
    failures: int = 0
    due: float = 0.0
    """When to try again after SQL failed for this pipeline, in monotonic seconds."""


class LiveCounting:
    """Applies what was stored to the live counters, in a task of its own."""

    def __init__(
        self,
        counters: Counters,
        outbox: Outbox,
        backoff: Backoff,
        watch: Watch,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives seconds since the epoch."""
        self._counters = counters
        self._outbox = outbox
        self._backoff = backoff
        self._watch = watch
        self._now = now
        self._tracks: dict[Source, _Track] = {}
        self._work = asyncio.Event()
        self._check_at = 0.0

    def opened(self, lease: Lease) -> None:
        """A partition is read from this offset on: the counters should be that far."""
        self._tracks[lease.source] = _Track(lease.route, lease.next)
        self._work.set()

    def keep(self, sources: Collection[Source]) -> None:
        """Forgets all partitions but these: they are no longer ours to count."""
        for source in self._tracks.keys() - set(sources):
            del self._tracks[source]

    def submit(self, lease: Lease, entry: OutboxEntry) -> None:
        """Takes what was stored; never waits, and forgets it rather than grow."""
        track = self._tracks.get(lease.source)
        if track is None:
            return
        track.route = lease.route
        track.target = entry.end
        if track.behind or len(track.queue) >= _QUEUE_CHANGES:
            track.behind = True
            track.queue.clear()
        else:
            track.queue.append(entry)
        self._work.set()

    def check_soon(self) -> None:
        """Asks Redis for its fences at the next settling, however lately that was done.

        A Redis that failed may be back with less than it held.
        """
        self._check_at = 0.0
        self._work.set()

    async def run(self) -> None:
        """Counts for ever."""
        failures = 0
        while True:
            self._watch.idle(LOOP)
            await self._wait_for_work()
            self._watch.step(LOOP)
            try:
                await self.settle()
                failures = 0
            except StreamError as error:
                failures += 1
                metrics.LIVE_FAILURES.inc()
                extra = {"reason": str(error), "failures": failures}
                logger.warning("live counters fall behind", extra=extra)
                await asyncio.sleep(self._backoff.delay(failures))
                self.check_soon()
            self._show()

    async def settle(self) -> None:
        """Applies what is queued, then catches up where that is needed."""
        self._work.clear()
        await self._apply_queued()
        if time.monotonic() > self._check_at:
            await self._check()
            self._check_at = time.monotonic() + _CHECK_SECONDS
        for source, track in list(self._tracks.items()):
            mine = self._tracks.get(source) is track
            if mine and track.behind and time.monotonic() >= track.due:
                await self._try_to_catch_up(source, track)

    async def _try_to_catch_up(self, source: Source, track: _Track) -> None:
        """One pipeline's trouble in SQL is its own: the others go on."""
        try:
            await self._catch_up(source, track)
            track.failures = 0
        except TableError as error:
            metrics.LIVE_FAILURES.inc()
            track.failures += 1
            track.due = time.monotonic() + self._backoff.delay(track.failures)
            extra = {"topic": source.topic, "reason": str(error)}
            logger.warning("a pipeline's live counters fall behind", extra=extra)

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._work.wait()
        except TimeoutError:
            pass

    def _show(self) -> None:
        metrics.LIVE_BEHIND.set(sum(track.behind for track in self._tracks.values()))

    async def _apply_queued(self) -> None:
        while taken := self._take():
            changes = [self._change(source, track.route, entry) for source, track, entry in taken]
            try:
                fences = await self._counters.apply(changes)
            except StreamError:
                for _, track, _ in taken:
                    _fall_behind(track)
                raise
            for (_, track, entry), fence in zip(taken, fences, strict=True):
                if fence is None or fence < entry.end:
                    _fall_behind(track)

    def _take(self) -> list[tuple[Source, _Track, OutboxEntry]]:
        taken: list[tuple[Source, _Track, OutboxEntry]] = []
        for source, track in self._tracks.items():
            while track.queue and len(taken) < _APPLY_CHANGES:
                taken.append((source, track, track.queue.popleft()))
        return taken

    async def _check(self) -> None:
        """Asks Redis whether it still holds what it was given, also where nothing is stored."""
        tracks = [(source, track) for source, track in self._tracks.items() if not track.queue]
        fences = await self._counters.fences([_fence(s, t.route) for s, t in tracks])
        for (_, track), fence in zip(tracks, fences, strict=True):
            if fence is None or fence < track.target:
                _fall_behind(track)

    async def _catch_up(self, source: Source, track: _Track) -> None:
        """Brings one partition's counters up to date; leaves it behind if others interfere."""
        for _ in range(_ATTEMPTS):
            self._watch.step(LOOP)
            target = track.target
            if await self._follow_outbox(source, track.route, target):
                track.behind = track.target != target
                if not track.behind:
                    return
            else:
                await self._rebuild(track.route)
        self._work.set()

    async def _follow_outbox(self, source: Source, route: Route, target: int) -> bool:
        """Applies the outbox from the fence on; whether the fence reached `target` by it."""
        fence = (await self._counters.fences([_fence(source, route)]))[0]
        if fence is None:
            return False
        while page := deque(await self._outbox.outbox_page(source, fence, _PAGE_ENTRIES)):
            while page:
                self._watch.step(LOOP)
                some = [page.popleft() for _ in range(min(len(page), _APPLY_CHANGES))]
                changes = [self._change(source, route, entry) for entry in some]
                fence = (await self._counters.apply(changes))[-1]
                if fence is None or fence < some[-1].end:
                    return False
        return fence >= target

    async def _rebuild(self, route: Route) -> None:
        """Replaces a pipeline's live window, then catches up all its partitions, not only ours."""
        metrics.LIVE_REBUILDS.inc()
        topic = route.pipeline.topic
        logger.info("live window rebuilt", extra={"topic": topic})
        parts = await self._outbox.live_window(topic)
        if not parts:
            raise TableError("AR404", f"no partition of {topic} is in the ledger")
        second = int(self._now())
        counts: dict[str, dict[str, int]] = {}
        for part in parts:
            for key, events in self._live(route, _decode(part.deltas)).items():
                total = counts.setdefault(key, {})
                for event, count in events.items():
                    total[event] = total.get(event, 0) + count
        seconds = range(
            second - redis_keys.LIVE_WINDOW_SECONDS, second + sizes.MAX_CLOCK_AHEAD_S + 1
        )
        await self._counters.replace(
            LiveWindow(
                {_fence(Source(topic, part.partition), route): part.next for part in parts},
                counts,
                {
                    _key(route, second): second + redis_keys.LIVE_WINDOW_SECONDS
                    for second in seconds
                },
            )
        )
        for part in parts:
            await self._follow_outbox(Source(topic, part.partition), route, part.next)

    def _change(self, source: Source, route: Route, entry: OutboxEntry) -> Change:
        deltas = _decode(entry.deltas)
        return Change(
            _fence(source, route),
            entry.start,
            entry.end,
            self._live(route, deltas),
            {_key(route, second): second + redis_keys.LIVE_WINDOW_SECONDS for second in deltas},
        )

    def _live(
        self, route: Route, deltas: Mapping[int, Mapping[str, int]]
    ) -> dict[str, Mapping[str, int]]:
        """Counts by key, without the seconds that have left the window."""
        oldest = self._now() - redis_keys.LIVE_WINDOW_SECONDS
        return {_key(route, second): events for second, events in deltas.items() if second > oldest}


def _fall_behind(track: _Track) -> None:
    track.behind = True
    track.queue.clear()


def _key(route: Route, second: int) -> str:
    return redis_keys.live(route.tenant.id, route.pipeline.name, second)


def _fence(source: Source, route: Route) -> str:
    return redis_keys.fence(route.tenant.id, source.topic, source.partition)
