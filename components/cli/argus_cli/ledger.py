"""The ledger as people read it: what came into the log, and what became of every record.

Pure: whether the books balance is decided here, from terms that are counted apart. No term is ever
computed as what is left over from the others, for then nothing could be missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What the terms of one partition, or of many, say."""

    BALANCED = "balanced"
    """Read to the end, and every record is accounted for."""
    BEHIND = "in flight"
    """What was read is accounted for; the rest is still to be read."""
    UNBALANCED = "UNBALANCED"
    """A record is missing, was lost, or is counted twice."""


@dataclass(frozen=True, slots=True)
class Line:
    """The ledger of one partition of one pipeline; offsets and counts of records.

    `log_end` is the offset after the last record of the log, `first_offset` where the books begin,
    `next_offset` the first record that has not been settled.
    """

    namespace: str
    tenant: str
    pipeline: str
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    log_end: int
    stored: int
    duplicate: int
    dead_lettered: int
    skipped: int
    lost: int
    expired: int

    @property
    def owner(self) -> str:
        """`<namespace>/<tenant>`."""
        return f"{self.namespace}/{self.tenant}"

    @property
    def records(self) -> int:
        """How many records the log took since the books began."""
        return self.log_end - self.first_offset

    @property
    def in_flight(self) -> int:
        """Records in the log that have not been settled."""
        return self.log_end - self.next_offset

    @property
    def settled(self) -> int:
        """Records that were stored, known already, or dead-lettered."""
        return self.stored + self.duplicate + self.dead_lettered

    @property
    def verdict(self) -> Verdict:
        """Whether what was read = stored + duplicate + dead-lettered + skipped, and nothing lost.

        What was skipped was never a record of ours: it is shown, and alarms nobody.
        """
        sound = self.next_offset - self.first_offset == self.settled + self.skipped
        if not sound or self.lost or self.in_flight < 0:
            return Verdict.UNBALANCED
        return Verdict.BEHIND if self.in_flight else Verdict.BALANCED


@dataclass(frozen=True, slots=True)
class Facts:
    """What SQL says of a pipeline besides its terms.

    `dead_letters` is by reason, and `balanced` whether they add up and nothing was lost. `state` is
    the worst of its partitions', None where the stream does not say.
    """

    dead_letters: Mapping[str, int]
    oldest_unread_at: datetime | None
    last_event_at: datetime | None
    state: str | None
    reason: str | None
    balanced: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """The ledger of one pipeline: its partitions, and what is known of them together."""

    lines: Sequence[Line]
    facts: Facts

    @property
    def name(self) -> str:
        """`<namespace>/<pipeline>`."""
        return f"{self.lines[0].namespace}/{self.lines[0].pipeline}"

    @property
    def totals(self) -> "Totals":
        """The sums over its partitions."""
        return total(self.lines)

    @property
    def verdict(self) -> Verdict:
        """Unbalanced where a partition is, or its reasons do not add up."""
        if not self.facts.balanced:
            return Verdict.UNBALANCED
        return judge(line.verdict for line in self.lines)


def judge(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; of none, balanced."""
    found = set(verdicts)
    for verdict in (Verdict.UNBALANCED, Verdict.BEHIND):
        if verdict in found:
            return verdict
    return Verdict.BALANCED


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over partitions; a difference of two is what happened in between.

    A difference's `in_flight` is negative where the log was further from being read before.
    """

    records: int = 0
    stored: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    lost: int = 0
    expired: int = 0
    in_flight: int = 0

    def __sub__(self, before: "Totals") -> "Totals":
        return Totals(
            records=self.records - before.records,
            stored=self.stored - before.stored,
            duplicate=self.duplicate - before.duplicate,
            dead_lettered=self.dead_lettered - before.dead_lettered,
            skipped=self.skipped - before.skipped,
            lost=self.lost - before.lost,
            expired=self.expired - before.expired,
            in_flight=self.in_flight - before.in_flight,
        )

    @property
    def read(self) -> int:
        """How many records were settled, by offsets."""
        return self.records - self.in_flight


def total(lines: Iterable[Line]) -> Totals:
    """The sums over these lines."""
    held = list(lines)
    return Totals(
        records=sum(line.records for line in held),
        stored=sum(line.stored for line in held),
        duplicate=sum(line.duplicate for line in held),
        dead_lettered=sum(line.dead_lettered for line in held),
        skipped=sum(line.skipped for line in held),
        lost=sum(line.lost for line in held),
        expired=sum(line.expired for line in held),
        in_flight=sum(line.in_flight for line in held),
    )
