"""Holds the ledger against what can be counted without it: rows in SQL, letters in Kafka.

Pure: the books of a pipeline come in, checks go out. A row that was removed by hand, or a dead
letter, on either side, makes a check fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from argus_cli.ledger import Line, Verdict, judge

_NAMED: Final = 3
"""How many missing letters a check names."""
_EDGE: Final = timedelta(minutes=1)
"""Letters this close to the end of their retention are left out: Kafka may be deleting them."""


@dataclass(frozen=True, slots=True)
class Check:
    """One equation: `found`, counted apart, must be `expected`, or with `at_least` no less."""

    what: str
    expected: int
    found: int
    note: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return self.found >= self.expected if self.at_least else self.found == self.expected


@dataclass(frozen=True, slots=True)
class Recorded:
    """A dead letter as SQL recorded it when it settled the source record; `id` as in `Written`."""

    key: str
    code: str
    at: datetime
    id: UUID | None


@dataclass(frozen=True, slots=True)
class Written:
    """A dead letter as its topic has it, and when it was written.

    `id` is the event's. It is None where there is none, and for the letter of a replay: that has
    the id of the first letter, and is known by root and attempt instead.
    """

    at: datetime
    id: UUID | None


@dataclass(frozen=True, slots=True)
class Books:
    """All that is known of one pipeline at one moment.

    `rows` is a count of its table; `letters_expired` is how many recorded letters SQL has dropped
    since, by age. `recorded` and `letters` are by key: a letter written twice for one source record
    is one.
    `letter_retention` is how long Kafka keeps letters, None for ever.
    """

    namespace: str
    tenant: str
    pipeline: str
    lines: tuple[Line, ...]
    rows: int
    letters_expired: int
    recorded: Mapping[str, Recorded]
    letters: Mapping[str, Written]
    letter_retention: timedelta | None
    now: datetime

    @property
    def name(self) -> str:
        """`<namespace>/<tenant>/<pipeline>`."""
        return f"{self.namespace}/{self.tenant}/{self.pipeline}"

    def checks(self) -> list[Check]:
        """Every equation that must hold, whether or not the log is read to its end."""
        return [
            self._settled(),
            self._rows(),
            self._recorded(),
            self._kept(),
            self._unrecorded(),
        ]

    def copies(self) -> frozenset[str]:
        """Keys of the letters without a record that are copies of a recorded one: by their id.

        A client sent the event into two partitions, and the stream died between one's letter and
        its record: read again, that one is settled as a duplicate of the other.
        """
        ids = {letter.id for letter in self.recorded.values() if letter.id is not None}
        return frozenset(
            key
            for key, letter in self.letters.items()
            if key not in self.recorded and letter.id in ids
        )

    @property
    def verdict(self) -> Verdict:
        """Balanced only where every line is, and every check holds."""
        failed = not all(check.holds for check in self.checks())
        lines = judge(line.verdict for line in self.lines)
        return Verdict.UNBALANCED if failed else lines

    def _settled(self) -> Check:
        read = sum(line.next_offset - line.first_offset for line in self.lines)
        settled = sum(line.settled + line.skipped for line in self.lines)
        return Check("records read = stored + duplicate + dead-lettered + skipped", read, settled)

    def _rows(self) -> Check:
        left = sum(line.stored - line.expired for line in self.lines)
        return Check("rows in the table = stored - expired", left, self.rows)

    def _recorded(self) -> Check:
        left = sum(line.dead_lettered for line in self.lines) - self.letters_expired
        return Check("dead letters recorded = dead-lettered - expired", left, len(self.recorded))

    def _kept(self) -> Check:
        young = [letter.key for letter in self.recorded.values() if self._is_young(letter.at)]
        missing = [key for key in young if key not in self.letters]
        return Check(
            "letters in the topic = recorded, within retention",
            len(young),
            len(young) - len(missing),
            _named("missing in the topic", missing),
        )

    def _unrecorded(self) -> Check:
        settled = {(line.topic, line.partition): line.next_offset for line in self.lines}
        known = self.recorded.keys() | self.copies()
        strange = [
            key
            for key, letter in self.letters.items()
            if key not in known and self._is_young(letter.at) and not _is_ahead(key, settled)
        ]
        return Check(
            "letters in the topic without a record",
            0,
            len(strange),
            _named("not recorded", strange),
        )

    def _is_young(self, at: datetime) -> bool:
        return self.letter_retention is None or at > self.now - self.letter_retention + _EDGE


def _is_ahead(key: str, settled: Mapping[tuple[str, int], int]) -> bool:
    """Whether this letter's source has not been settled: it was written, its record comes next."""
    topic, _, rest = key.partition("/")
    partition, _, offset = rest.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    return int(offset) >= settled.get((topic, int(partition)), 0)


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{what}: {', '.join(sorted(keys)[:_NAMED])}{more}"
