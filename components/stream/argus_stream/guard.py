"""When to stop writing dead letters: where most records of a pipeline fail, it is not the records.

A constraint that somebody added, a trigger that raises, a defect of ours: each turns good events
into dead letters by the thousands. The guard counts, of the records that reached the database,
those that it refused and those on which ARGUS itself failed; too many of them trip it. What a
client can cause never counts: rejects of the edge, the time window, what screening finds. Nor does
a replayed letter, which somebody asked to have tried. Pure: no I/O, no clock (ADR 0008).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from argus_contract.rejects import Code, Step

from argus_stream.slices import Letter, Slice

_FAULTS: Final = frozenset({Code.REFUSED, Code.INTERNAL})


@dataclass(frozen=True, slots=True)
class Rule:
    """What trips: refusals among the last `window` records, or `run` of them without a success."""

    window: int
    ratio: float
    """Share of the window from which on it trips, if there are `least` refusals in it."""
    least: int
    run: int


class Guard:
    """One pipeline's outcomes, in order; only as many as the rule asks about."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._outcomes: deque[tuple[bool, int]] = deque()
        """Runs of records: whether they were refused, and how many."""
        self._seen = 0

    def copy(self) -> "Guard":
        """Another one that has seen the same."""
        other = Guard(self._rule)
        other._outcomes = self._outcomes.copy()
        other._seen = self._seen
        return other

    def passed(self, count: int) -> None:
        """The database took this many records."""
        self._add(False, count)

    def refused(self, count: int) -> None:
        """This many records were refused, one after the other."""
        self._add(True, count)

    def _add(self, refused: bool, count: int) -> None:
        if not count:
            return
        if self._outcomes and self._outcomes[-1][0] is refused:
            count += self._outcomes.pop()[1]
        kept = min(count, max(self._rule.window, self._rule.run))
        self._outcomes.append((refused, kept))
        self._seen = sum(count for _, count in self._outcomes)
        while self._seen - self._outcomes[0][1] >= self._rule.window:
            self._seen -= self._outcomes.popleft()[1]

    def trips(self, more: int = 0) -> str | None:
        """Why it trips if `more` records are refused next, in words; None if it does not."""
        rule = self._rule
        last = self._outcomes[-1] if self._outcomes else (False, 0)
        run = more + (last[1] if last[0] else 0)
        if run >= rule.run:
            return f"{run} records in a row were refused"
        seen = min(rule.window, self._seen + more)
        refused = min(more, seen) + self._refused_of_last(seen - more)
        if refused >= rule.least and refused >= rule.ratio * seen:
            return f"{refused} of the last {seen} records were refused"
        return None

    def _refused_of_last(self, records: int) -> int:
        found = 0
        for refused, count in reversed(self._outcomes):
            if records <= 0:
                break
            if refused:
                found += min(count, records)
            records -= count
        return found


class Guards:
    """The guards of all pipelines, by topic."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._guards: dict[str, Guard] = {}

    def _of(self, topic: str) -> Guard:
        return self._guards.setdefault(topic, Guard(self._rule))

    def settled(self, piece: Slice) -> None:
        """Counts what became of a slice that was stored."""
        _add(self._of(piece.lease.source.topic), piece)

    def trips(self, topic: str, pieces: Sequence[Slice]) -> str | None:
        """Why this pipeline's guard trips if these slices are stored as they are; else None."""
        guard = self._of(topic).copy()
        return next((reason for piece in pieces if (reason := _add(guard, piece))), None)

    def doubt(self, topic: str) -> None:
        """Begins anew, but the first record that is refused trips it."""
        guard = self._guards[topic] = Guard(self._rule)
        guard.refused(self._rule.run - 1)

    def forget(self, topic: str) -> None:
        """Begins anew: what was counted speaks of a table that has been repaired since."""
        self._guards.pop(topic, None)


def counts(letter: Letter) -> bool:
    """Whether a letter speaks against the database or ARGUS, and not against its record."""
    return letter.code in _FAULTS and letter.step is not Step.INGEST and letter.replay is None


def _add(guard: Guard, piece: Slice) -> str | None:
    """Why the guard tripped on the way, if it did."""
    reason = None
    for refused, count in _runs(piece):
        if refused:
            guard.refused(count)
            reason = reason or guard.trips()
        else:
            guard.passed(count)
    return reason


def _runs(piece: Slice) -> Iterator[tuple[bool, int]]:
    """Runs of records that passed, or were refused, in the order of their offsets."""
    faults = [letter.record.offset for letter in piece.letters if counts(letter)]
    if not faults:
        yield False, len(piece.rows)
        return
    passed = [(record.offset, False) for record in piece.records]
    outcomes = sorted(passed + [(offset, True) for offset in faults])
    for refused, run in groupby(outcomes, key=itemgetter(1)):
        yield refused, sum(1 for _ in run)
