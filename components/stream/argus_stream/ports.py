"""What the stream's logic asks of the world; `argus_stream.adapters` answers with real clients.

Every method that crosses the network has a deadline of its own and raises only errors of
`argus_stream.errors`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from argus_contract.headers import Header

from argus_stream.slices import Replay, Slice
from argus_stream.sources import Record, Source, Standing


class Bounds(NamedTuple):
    """What a partition's log holds: offsets [start, end)."""

    start: int
    end: int


class LogEnds(NamedTuple):
    """Where logs end, and which partitions do not exist."""

    ends: Mapping[Source, int]
    missing: frozenset[Source]


Shares = Callable[[Collection[str]], Mapping[str, int]]


class Log(Protocol):
    """Reading of partitions that we chose, from offsets that we chose."""

    def assign(self, positions: Mapping[Source, int | None]) -> None:
        """Reads these partitions and no others; None pauses one."""

    def seek(self, source: Source, offset: int) -> None:
        """Goes on reading an assigned partition from this offset."""

    def pause(self, source: Source) -> None:
        """Reads no more of an assigned partition until it is sought."""

    async def fetch(self, shares: Shares, timeout: float) -> Mapping[Source, Sequence[Record]]:
        """At most as many records of each topic as `shares` says, waiting for one if there is none.

        `shares` is asked with the topics that have records at hand. Where there are none, it waits
        up to `timeout` seconds, and may then give one without having asked. Raises LogError where
        partitions cannot be read at their positions; what was fetched of others may then be lost,
        and they have to be sought again.
        """

    async def position(self, source: Source) -> int:
        """The offset after the last that was fetched; ahead of it where there was none of ours."""


class Offsets(Protocol):
    """What brokers know of logs and groups. Raises BrokerError."""

    async def bounds(self, sources: Sequence[Source]) -> Mapping[Source, Bounds]:
        """Start and end of each log; a partition without a leader, or at all, is left out."""

    async def ends(self, sources: Sequence[Source]) -> LogEnds:
        """End of each log; a partition without a leader just now is left out."""

    async def commit(self, offsets: Mapping[Source, int]) -> None:
        """Commits for the stream's group."""


class Mail(NamedTuple):
    """A dead letter as Kafka takes it."""

    key: bytes
    value: bytes | None
    headers: list[Header]


class Post(Protocol):
    """Delivery of dead letters."""

    async def deliver(self, topic: str, mail: Sequence[Mail]) -> None:
        """Returns once all in-sync replicas have all of it; raises LettersError otherwise."""


class Outcome(NamedTuple):
    """What became of a slice: the database's own counts, and deltas of live counters as JSON."""

    stored: int
    duplicate: int
    deltas: str


class OutboxEntry(NamedTuple):
    """Deltas of one stored slice [start, end)."""

    start: int
    end: int
    deltas: str


class WindowPart(NamedTuple):
    """One partition's part of a pipeline's live window, with the offset up to which it counts."""

    partition: int
    next: int
    deltas: str


class Store(Protocol):
    """The storing function. Raises StoreError; then nothing was stored, or the fence will say."""

    async def store(self, slices: Sequence[Slice]) -> Sequence[Outcome]:
        """Stores all slices or none."""

    async def rehearse(self, piece: Slice) -> None:
        """Does all that storing this slice would do, and undoes it."""


class Ledger(Protocol):
    """Small questions to the database, none of them on a record's way. Raises StoreError."""

    async def open_partition(self, source: Source, log_start: int) -> int:
        """The offset to read from; what the log lost before it is counted.

        Raises HaltedError for a partition that was halted and not resumed since.
        """

    async def halt_partition(self, source: Source, reason: str) -> None:
        """Nobody opens this partition until somebody resumes it, in SQL."""

    async def known_ids(
        self,
        topic: str,
        ids: Sequence[str],
        times: Sequence[datetime | None],
        *,
        rejects: bool,
    ) -> frozenset[str]:
        """Those of these ids (lower case) that are stored or dead-lettered already.

        `rejects` says whether what the edge refused counts among the dead-lettered.
        """

    async def settled_replays(self, replays: Sequence[Replay]) -> frozenset[str]:
        """Roots of those whose attempt, or a later one, is settled already."""

    async def sample(self, ends: Mapping[Source, int], oldest: Mapping[Source, datetime]) -> None:
        """Notes where logs end, and when their oldest unread record was produced, if known."""

    async def report(self, standings: Mapping[Source, Standing]) -> None:
        """Notes what partitions do, and why."""

    async def heartbeat(self, member: UUID, ttl: float) -> frozenset[UUID]:
        """Says that we live, and gives all members that lived in the last `ttl` seconds."""

    async def leave(self, member: UUID) -> None:
        """Says that we are gone."""


class Outbox(Protocol):
    """Deltas that the storing function wrote. Raises StoreError."""

    async def outbox_page(self, source: Source, offset: int, most: int) -> Sequence[OutboxEntry]:
        """The first entries from this offset on, in order; an hour of them is kept."""

    async def live_window(self, topic: str) -> Sequence[WindowPart]:
        """The whole live window of a pipeline, of one snapshot."""


class Change(NamedTuple):
    """Deltas of one slice [start, end): live key → event → count."""

    fence: str
    start: int
    end: int
    counts: Mapping[str, Mapping[str, int]]
    expiry: Mapping[str, int]
    """Epoch second at which each key of `counts` expires."""


class LiveWindow(NamedTuple):
    """A pipeline's whole live window, as one snapshot of SQL knows it."""

    fences: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    expiry: Mapping[str, int]
    """Epoch second at which each key that the window may have expires, counted or not."""


class Counters(Protocol):
    """The live counters of Redis. Raises LiveError; then what was applied, the fences tell."""

    async def apply(self, changes: Sequence[Change]) -> Sequence[int | None]:
        """Applies, in order, each change whose `start` is the fence.

        Gives the fence of each afterwards: its `end` or beyond where it is counted, before its end
        where it is not, None where Redis holds none.
        """

    async def fences(self, keys: Sequence[str]) -> Sequence[int | None]:
        """The fences that Redis holds, None where it holds none."""

    async def replace(self, window: LiveWindow) -> None:
        """Puts a whole live window, with its fences, in the place of what is there, at once."""
