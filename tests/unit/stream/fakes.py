"""Fakes of the stream's ports; the contracts beside them run on the real adapters, too."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from argus_stream.errors import (
    FencedError,
    HaltedError,
    LettersError,
    LiveError,
    RefusedError,
    TableError,
    UnavailableError,
)
from argus_stream.ports import (
    Bounds,
    Change,
    LiveWindow,
    LogEnds,
    Mail,
    OutboxEntry,
    Outcome,
    Shares,
    WindowPart,
)
from argus_stream.slices import Replay, Slice
from argus_stream.sources import Record, Source, Standing


class FakeStore:
    """Fences, refuses and fails as the storing function does; `stored` are offsets of rows."""

    def __init__(self) -> None:
        self.next: dict[Source, int] = {}
        self.stored: dict[Source, list[int]] = {}
        self.letters: dict[Source, dict[int, str]] = {}
        self.repeats: dict[Source, list[int]] = {}
        self.skipped: Counter[Source] = Counter()
        self.poison: set[tuple[Source, int]] = set()
        self.broken: set[str] = set()
        self.failures: list[Exception] = []
        """Raised by the next calls, one each."""
        self.calls: list[list[Source]] = []
        self.rehearsals = 0

    async def store(self, slices: Sequence[Slice]) -> Sequence[Outcome]:
        self.calls.append([piece.lease.source for piece in slices])
        if self.failures:
            raise self.failures.pop(0)
        for piece in slices:
            source = piece.lease.source
            if self.next.get(source, 0) != piece.start:
                raise FencedError(source, f"stands at {self.next.get(source, 0)}")
        for piece in slices:
            source = piece.lease.source
            if source.topic in self.broken:
                raise TableError("42P01", "no such table")
            if any((source, found.offset) in self.poison for found in piece.records):
                raise RefusedError("22003", "out of range")
        return [self._settle(piece) for piece in slices]

    async def rehearse(self, piece: Slice) -> None:
        self.rehearsals += 1
        source = piece.lease.source
        if self.next.get(source, 0) != piece.start:
            raise FencedError(source, f"stands at {self.next.get(source, 0)}")
        if source.topic in self.broken:
            raise TableError("42P01", "no such table")
        if any((source, found.offset) in self.poison for found in piece.records):
            raise RefusedError("22003", "out of range")

    def _settle(self, piece: Slice) -> Outcome:
        source = piece.lease.source
        terms = len(piece.rows) + len(piece.letters) + len(piece.repeats) + piece.skipped
        if terms != piece.end - piece.start:
            raise TableError("AR002", "does not add up")
        self.next[source] = piece.end
        offsets = [found.offset for found in piece.records]
        self.stored.setdefault(source, []).extend(offsets)
        self.letters.setdefault(source, {}).update(
            {each.record.offset: each.code for each in piece.letters}
        )
        self.repeats.setdefault(source, []).extend(piece.repeats)
        self.skipped[source] += piece.skipped
        return Outcome(len(offsets), len(piece.repeats), "{}")


class FakeLedger:
    """Knows ids, members and offsets."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.rejected: set[str] = set()
        self.settled: dict[str, int] = {}
        """Attempts of replays that are settled, by root."""
        self.oldest: dict[Source, datetime] = {}
        self.reports: list[dict[Source, Standing]] = []
        self.offsets: dict[Source, int] = {}
        self.halted: dict[Source, str] = {}
        self.members: frozenset[UUID] = frozenset()
        self.failure: TableError | UnavailableError | None = None
        self.asked: list[tuple[str, Sequence[str], Sequence[datetime | None]]] = []
        self.sampled: dict[Source, int] = {}
        self.left: list[UUID] = []
        self.heard = asyncio.Event()

    def _may_fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def open_partition(self, source: Source, log_start: int) -> int:
        self._may_fail()
        if source in self.halted:
            raise HaltedError(self.halted[source])
        self.offsets[source] = max(log_start, self.offsets.get(source, log_start))
        return self.offsets[source]

    async def halt_partition(self, source: Source, reason: str) -> None:
        self._may_fail()
        self.halted.setdefault(source, reason)

    async def known_ids(
        self,
        topic: str,
        ids: Sequence[str],
        times: Sequence[datetime | None],
        *,
        rejects: bool,
    ) -> frozenset[str]:
        self._may_fail()
        self.asked.append((topic, ids, times))
        return frozenset((self.known | (self.rejected if rejects else set())) & set(ids))

    async def settled_replays(self, replays: Sequence[Replay]) -> frozenset[str]:
        self._may_fail()
        return frozenset(
            each.root for each in replays if self.settled.get(each.root, 0) >= each.attempt
        )

    async def sample(self, ends: Mapping[Source, int], oldest: Mapping[Source, datetime]) -> None:
        self._may_fail()
        self.sampled.update(ends)
        self.oldest = dict(oldest)

    async def report(self, standings: Mapping[Source, Standing]) -> None:
        self._may_fail()
        self.reports.append(dict(standings))

    async def heartbeat(self, member: UUID, ttl: float) -> frozenset[UUID]:
        self._may_fail()
        self.heard.set()
        return self.members | {member}

    async def leave(self, member: UUID) -> None:
        self._may_fail()
        self.left.append(member)


class FakePost:
    """Delivers to memory."""

    def __init__(self) -> None:
        self.delivered: dict[str, list[Mail]] = {}
        self.broken: set[str] = set()
        self.slow: dict[str, asyncio.Event] = {}
        """Topics that acknowledge nothing before their event is set."""

    async def deliver(self, topic: str, mail: Sequence[Mail]) -> None:
        if topic in self.slow:
            await self.slow[topic].wait()
        if topic in self.broken:
            raise LettersError(f"{topic}: not acknowledged")
        self.delivered.setdefault(topic, []).extend(mail)


class FakeLog:
    """A consumer that says what it was told."""

    def __init__(self) -> None:
        self.positions: dict[Source, int | None] = {}
        self.told: list[str] = []
        self.queue: list[Mapping[Source, Sequence[Record]] | Exception] = []

    def assign(self, positions: Mapping[Source, int | None]) -> None:
        self.told.append("assign")
        self.positions = dict(positions)

    def seek(self, source: Source, offset: int) -> None:
        self.told.append("seek")
        self.positions[source] = offset

    def pause(self, source: Source) -> None:
        self.told.append("pause")
        self.positions[source] = None

    async def fetch(self, shares: Shares, timeout: float) -> Mapping[Source, Sequence[Record]]:
        if not self.queue:
            return {}
        found = self.queue[0]
        if not isinstance(found, Exception) and not any(
            shares([source.topic for source in found]).values()
        ):
            return {}
        self.queue.pop(0)
        if isinstance(found, Exception):
            raise found
        for source, records in found.items():
            self.positions[source] = records[-1].offset + 1
        return found

    async def position(self, source: Source) -> int:
        position = self.positions[source]
        assert position is not None
        return position


class FakeOffsets:
    """Brokers that know these logs."""

    def __init__(self) -> None:
        self.logs: dict[Source, Bounds] = {}
        self.committed: dict[Source, int] = {}
        self.commits = 0
        self.failure: BaseException | None = None

    async def bounds(self, sources: Sequence[Source]) -> Mapping[Source, Bounds]:
        if self.failure is not None:
            raise self.failure
        return {source: self.logs[source] for source in sources if source in self.logs}

    async def ends(self, sources: Sequence[Source]) -> LogEnds:
        if self.failure is not None:
            raise self.failure
        known = {source: self.logs[source].end for source in sources if source in self.logs}
        return LogEnds(known, frozenset(sources) - known.keys())

    async def commit(self, offsets: Mapping[Source, int]) -> None:
        if self.failure is not None:
            raise self.failure
        self.commits += 1
        self.committed.update(offsets)


class FakeCounters:
    """Redis as the live scripts leave it."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.away = False
        self.counted = asyncio.Event()

    def _may_fail(self) -> None:
        if self.away:
            raise LiveError("Redis: away")

    async def apply(self, changes: Sequence[Change]) -> Sequence[int | None]:
        self._may_fail()
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> int | None:
        fence = self.held.get(change.fence)
        if fence != change.start:
            return fence
        for key, events in change.counts.items():
            self.counts.setdefault(key, Counter()).update(events)
        self.held[change.fence] = change.end
        return change.end

    async def fences(self, keys: Sequence[str]) -> Sequence[int | None]:
        self._may_fail()
        return [self.held.get(key) for key in keys]

    async def replace(self, window: LiveWindow) -> None:
        self._may_fail()
        self.held.update(window.fences)
        for key in window.expiry:
            self.counts.pop(key, None)
        for key, events in window.counts.items():
            self.counts[key] = Counter(events)
        if window.counts:
            self.counted.set()


class FakeOutbox:
    """The outbox of one pipeline, and the window that it adds up to."""

    def __init__(self, encode: Callable[[Mapping[int, Mapping[str, int]]], str]) -> None:
        self._encode = encode
        self.entries: dict[Source, list[OutboxEntry]] = {}
        self.page = 2
        """Most entries handed out at once, however many are asked for."""
        self.pruned: dict[Source, int] = {}
        """Entries before this offset are no longer handed out."""
        self.totals: dict[Source, dict[int, Counter[str]]] = {}
        self.before_window: Callable[[], None] = lambda: None
        """Called after a window was read, before it is handed out."""

    def store(
        self, source: Source, size: int, deltas: Mapping[int, Mapping[str, int]]
    ) -> OutboxEntry:
        """What the storing function writes for a slice of `size` offsets."""
        known = self.entries.setdefault(source, [])
        start = known[-1].end if known else 0
        entry = OutboxEntry(start, start + size, self._encode(deltas))
        known.append(entry)
        total = self.totals.setdefault(source, {})
        for second, events in deltas.items():
            total.setdefault(second, Counter()).update(events)
        return entry

    async def outbox_page(self, source: Source, offset: int, most: int) -> Sequence[OutboxEntry]:
        first = max(offset, self.pruned.get(source, 0))
        entries = [entry for entry in self.entries.get(source, []) if entry.start >= first]
        return entries[: min(most, self.page)]

    async def live_window(self, topic: str) -> Sequence[WindowPart]:
        parts = [
            WindowPart(
                source.partition,
                self.entries[source][-1].end if self.entries[source] else 0,
                self._encode(self.totals.get(source, {})),
            )
            for source in self.entries
            if source.topic == topic
        ]
        self.before_window()
        return parts
