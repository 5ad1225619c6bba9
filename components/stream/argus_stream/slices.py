"""A slice: what was made of one partition's offsets [start, end), each offset accounted for once.

The database checks that the counts add up to the offsets, so nothing here is ever a remainder: a
row, a letter, a repeated letter and a gap are each counted where they are found.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from argus_contract.rejects import Code, Step

from argus_stream.sources import Lease, Record


class Replay(NamedTuple):
    """That a record is a dead letter which is tried again."""

    root: str
    """The key of the first letter of the same event."""
    attempt: int
    """2 for the first replay."""


class Gap(NamedTuple):
    """Offsets [start, end) with no event of ours: foreign records, markers, compacted ones."""

    start: int
    end: int


@dataclass(slots=True, eq=False)
class Letter:
    """A record that is not stored but goes to the dead-letter topic, with the reason."""

    record: Record
    id: str
    """The record's UUID, in lower case."""
    code: Code
    step: Step
    error: str
    event: str | None = None
    time: int | None = None
    """The event's own time in microseconds, where only id and time together tell a duplicate."""
    replay: Replay | None = None
    sent: bool = False
    """Whether the dead-letter topic has acknowledged it."""


@dataclass(slots=True, eq=False)
class Slice:
    """Rows, letters and gaps of one lease, in offset order; times are microseconds."""

    lease: Lease
    start: int
    end: int
    rows: list[bytes] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    """The records of `rows`, one each, kept until the database has taken their rows."""
    letters: list[Letter] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    """Offsets of letters whose id is already dead-lettered or stored."""
    gaps: list[Gap] = field(default_factory=list)
    replays: dict[int, Replay] = field(default_factory=dict)
    """Those of `rows` that are dead letters tried again, by offset; a letter has its own."""

    @property
    def oldest(self) -> int | None:
        """When its first event or letter was produced, in milliseconds; None where it has none."""
        firsts = [*self.records[:1], *(letter.record for letter in self.letters[:1])]
        return min((first.timestamp for first in firsts), default=None)

    @property
    def skipped(self) -> int:
        """How many offsets are gaps."""
        return sum(gap.end - gap.start for gap in self.gaps)

    def skip_to(self, end: int) -> None:
        """Counts [self.end, end) as a gap."""
        self.gaps.append(Gap(self.end, end))
        self.end = end

    def split(self) -> "tuple[Slice, Slice] | None":
        """Two slices with half of the rows each, None where there are fewer than two rows."""
        if len(self.rows) < 2:
            return None
        middle = len(self.rows) // 2
        return self._cut(middle, self.records[middle].offset)

    def _cut(self, row: int, at: int) -> "tuple[Slice, Slice]":
        letter = bisect_left(self.letters, at, key=lambda letter: letter.record.offset)
        repeat = bisect_left(self.repeats, at)
        gap = bisect_left(self.gaps, at, key=lambda gap: gap.start)
        return (
            Slice(
                self.lease,
                self.start,
                at,
                self.rows[:row],
                self.records[:row],
                self.letters[:letter],
                self.repeats[:repeat],
                self.gaps[:gap],
                {offset: replay for offset, replay in self.replays.items() if offset < at},
            ),
            Slice(
                self.lease,
                at,
                self.end,
                self.rows[row:],
                self.records[row:],
                self.letters[letter:],
                self.repeats[repeat:],
                self.gaps[gap:],
                {offset: replay for offset, replay in self.replays.items() if offset >= at},
            ),
        )

    def withdraw(self, index: int, letter: Letter) -> None:
        """Makes row `index` a letter; if it is a replay, so is the letter."""
        letter.replay = self.replays.pop(letter.record.offset, None)
        del self.rows[index]
        del self.records[index]
        place = bisect_left(
            self.letters, letter.record.offset, key=lambda letter: letter.record.offset
        )
        self.letters.insert(place, letter)

    def repeat(self, letters: list[Letter]) -> None:
        """Counts these letters as repeats of others: they are not sent."""
        dropped = {letter.record.offset for letter in letters}
        self.letters = [x for x in self.letters if x.record.offset not in dropped]
        self.repeats = sorted([*self.repeats, *dropped])
