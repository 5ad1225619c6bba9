"""What was decoded and is not yet being stored: at most one batch, which grows while SQL works.

Under load the next batch fills while the last one is stored, so its size follows the load by
itself; at rest a batch waits `linger` seconds for company. Pipelines share a batch: what one does
not need the others may have, but whoever comes late finds room for an equal share even in a batch
that is full. So memory is bounded by twice the rows and bytes of a batch.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import chain

from argus_stream.slices import Slice
from argus_stream.sources import Lease

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a batch may grow (records, bytes of their values), how long it waits (seconds)."""

    records: int
    bytes: int
    linger: float
    eager: int
    """Records from which on a batch does not wait for more."""


@dataclass(slots=True, eq=False)
class _Used:
    """What one topic has in the batch."""

    records: int = 0
    bytes: int = 0


class Pending:
    """The batch that grows; one reader adds to it, one writer takes it."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._slices: dict[Lease, Slice] = {}
        self._taken: list[Slice] = []
        self._used: dict[str, _Used] = {}
        self._total = _Used()
        self._since = 0.0
        self._closed = False
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def room(self) -> int:
        """How many records may be added before the batch is full; 0 where bytes are used up."""
        if self._total.bytes >= self._limits.bytes:
            return 0
        return max(0, self._limits.records - self._total.records)

    def shares(self, topics: Collection[str], most: int) -> dict[str, int]:
        """How many records each of these topics, which have some at hand, may add now.

        Together about `most`: an equal part of the room that is left, or what is missing to an
        equal part of the whole batch, as far as twice a batch reaches.
        """
        if not topics:
            return {}
        all_topics = len(self._used.keys() | set(topics))
        left = -(-min(most, self.room) // len(topics))
        late = min(most, self._late // len(topics))
        fair = _Used(self._limits.records // all_topics, self._limits.bytes // all_topics)
        return {topic: max(left, min(late, self._due(topic, fair))) for topic in topics}

    @property
    def _late(self) -> int:
        """How many records all who come late may add: their equal shares may be more in all."""
        if self._total.bytes >= 2 * self._limits.bytes:
            return 0
        return max(0, 2 * self._limits.records - self._total.records)

    def _due(self, topic: str, fair: _Used) -> int:
        used = self._used.get(topic, _Used())
        return max(0, fair.records - used.records) if used.bytes < fair.bytes else 0

    def unsettled(self) -> Iterable[Slice]:
        """The batch that was taken last, then the one that grows, in their leases' order."""
        return chain(self._taken, self._slices.values())

    def slice_of(self, lease: Lease) -> Slice:
        """The growing slice of this lease; whoever adds to it calls `grown`."""
        found = self._slices.get(lease)
        if found is None:
            found = self._slices[lease] = Slice(lease, lease.next, lease.next)
        return found

    def grown(self, topic: str, records: int, size: int) -> None:
        """Says that `records` with `size` bytes were added, or a gap (0 records)."""
        if not self._some.is_set():
            self._since = self._clock()
        for used in (self._total, self._used.setdefault(topic, _Used())):
            used.records += records
            used.bytes += size
        self._some.set()
        if self._total.records >= self._limits.eager:
            self._enough.set()
        if not self.room:
            self._enough.set()
            self._room.clear()

    def close(self) -> None:
        """Nothing is added any more: what is there is the last batch."""
        self._closed = True
        self._some.set()
        self._enough.set()

    async def wait_room(self) -> None:
        """Returns when the writer has taken the batch, or at once if there is room."""
        await self._room.wait()

    async def take(self) -> list[Slice] | None:
        """The batch, once there is one worth storing, without the slices of closed leases.

        None once it is closed and empty.
        """
        await self._some.wait()
        if self._closed and not self._slices:
            return None
        wait = self._since + self._limits.linger - self._clock()
        if wait > 0 and not self._enough.is_set():
            try:
                async with asyncio.timeout(wait):
                    await self._enough.wait()
            except TimeoutError:
                pass
        return self._empty_out()

    def _empty_out(self) -> list[Slice]:
        taken = [
            piece for lease, piece in self._slices.items() if lease.live and piece.start < piece.end
        ]
        self._slices = {}
        self._used, self._total = {}, _Used()
        self._room.set()
        if not self._closed:
            self._some.clear()
            self._enough.clear()
        self._taken = taken
        return taken
