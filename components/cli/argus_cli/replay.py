"""Tries dead letters again: those that would pass now are published to their pipeline's topic.

What makes it exactly once in effect is not here: the stream settles each replay in the transaction
that stores its row, under the key of the event's first letter. This module only reads what is
settled, and never publishes what is; so a run can be cut off anywhere and run again, and a run
after a finished one publishes nothing. At most `UNSETTLED` records are on their way at once, which
bounds memory, and what a stream that stands still is given.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, NamedTuple, Protocol

from argus_contract.records import Record
from argus_contract.registry import Pipeline

from argus_cli.judgement import Judgement, belongs, judged, replayed
from argus_cli.letters import Letter

CHUNK: Final = 500
"""Letters that are looked up, and published, at once."""
UNSETTLED: Final = 10_000
_LOOK_S: Final = 0.25


_FIRST_REPLAY: Final = 2
"""The attempt that the first replay of a letter is."""


class Outcome(StrEnum):
    """How the stream settled a replayed record."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The event was among the rows already."""
    DEAD_LETTERED = "dead_lettered"


class Standing(NamedTuple):
    """How the last replay of an event was settled, and which attempt it was."""

    attempt: int
    outcome: Outcome

    @property
    def final(self) -> bool:
        """Whether the event is among the rows, so that nothing is left to replay."""
        return self.outcome is not Outcome.DEAD_LETTERED


class Replays(Protocol):
    """What SQL knows of replays."""

    async def standings(self, roots: Sequence[str]) -> Mapping[str, Standing]:
        """How the last replay of each of these roots was settled; none for one without."""


class Topic(Protocol):
    """Where replays are published."""

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        """Returns when Kafka has all of them."""


class Fate(Enum):
    """What a replay does with a letter, and why."""

    SETTLED = "settled"
    """An earlier replay ended among the rows."""
    SKIPPED = "skipped"
    """An earlier replay was dead-lettered again, and nobody asked for another."""
    REFUSED = "refused"
    """It would be refused again."""
    DUE = "due"
    """It is published."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay: `rate` in records per second, 0 for no limit; `wait` in seconds for the stream
    to get on; `again` also what was dead-lettered again, `unchecked` also what would be refused."""

    rate: float = 500
    wait: float = 60
    again: bool = False
    unchecked: bool = False

    @property
    def chunk(self) -> int:
        """How many letters are taken at once: no more than a second's worth."""
        return CHUNK if not self.rate else max(1, min(CHUNK, int(self.rate)))


@dataclass(frozen=True, slots=True)
class Decision:
    """A letter's fate; `attempt` is what its replay would be."""

    letter: Letter
    fate: Fate
    attempt: int
    judgement: Judgement | None = None


@dataclass(slots=True)
class Counts:
    """What became of the letters that were asked for.

    `refused` by code, those that would be refused again; `unchecked` those of them that are
    published all the same.
    """

    matched: int = 0
    passing: int = 0
    replayed: int = 0
    stored: int = 0
    duplicate: int = 0
    failed: int = 0
    settled: int = 0
    skipped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unchecked: Counter[str] = field(default_factory=Counter)

    @property
    def unsettled(self) -> int:
        """Records that were published and of which nobody knows yet what became of them."""
        return self.replayed - self.stored - self.duplicate - self.failed

    def note(self, decision: Decision) -> None:
        """Counts a letter by its fate."""
        self.matched += 1
        judgement = decision.judgement
        match decision.fate:
            case Fate.SETTLED:
                self.settled += 1
            case Fate.SKIPPED:
                self.skipped += 1
            case Fate.REFUSED | Fate.DUE if judgement is not None and judgement.refusal:
                self.refused[judgement.refusal] += 1
                if decision.fate is Fate.DUE:
                    self.unchecked[judgement.refusal] += 1
            case Fate.DUE:
                self.passing += 1

    def settle(self, outcome: Outcome) -> None:
        """Counts a published record that was settled so."""
        match outcome:
            case Outcome.STORED:
                self.stored += 1
            case Outcome.DUPLICATE:
                self.duplicate += 1
            case Outcome.DEAD_LETTERED:
                self.failed += 1

    def add(self, other: "Counts") -> None:
        """Adds another pipeline's."""
        self.matched += other.matched
        self.passing += other.passing
        self.replayed += other.replayed
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.failed += other.failed
        self.settled += other.settled
        self.skipped += other.skipped
        self.refused += other.refused
        self.unchecked += other.unchecked


def _now() -> int:
    return time.time_ns() // 1000


class Replayer:
    """One run over the letters of one pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        replays: Replays,
        topic: Topic,
        options: Options,
        progress: Callable[[Counts], None] = lambda _: None,
        clock: Callable[[], int] = _now,
    ) -> None:
        """`progress` is called with the counts as they change.

        `clock` gives microseconds since the epoch.
        """
        self._pipeline = pipeline
        self._replays = replays
        self._topic = topic
        self._options = options
        self._progress = progress
        self._clock = clock
        self._unsettled: dict[str, int] = {}
        self._looked = 0.0
        self._turn = 0.0
        self.counts = Counts()

    async def plan(self, letters: AsyncIterator[Letter]) -> Counts:
        """Decides on all letters and publishes nothing."""
        async for decisions in self._decisions(letters):
            for decision in decisions:
                self.counts.note(decision)
            self._progress(self.counts)
        return self.counts

    async def run(self, letters: AsyncIterator[Letter]) -> Counts:
        """Publishes what is due, and returns once all of it is settled.

        Or once the stream has settled nothing for the time to wait: some are then `unsettled`.
        """
        async for decisions in self._decisions(letters):
            for decision in decisions:
                self.counts.note(decision)
            due = [decision for decision in decisions if decision.fate is Fate.DUE]
            if due:
                if not await self._settle(UNSETTLED - len(due)):
                    return self.counts
                await self._pace(len(due))
                await self._publish(due)
            if time.monotonic() - self._looked > 1:
                await self._look()
            self._progress(self.counts)
        await self._settle(0)
        return self.counts

    async def _decisions(self, letters: AsyncIterator[Letter]) -> AsyncIterator[list[Decision]]:
        chunk: list[Letter] = []
        async for letter in letters:
            chunk.append(letter)
            if len(chunk) >= self._options.chunk:
                yield await self._decide(chunk)
                chunk = []
        if chunk:
            yield await self._decide(chunk)

    async def _decide(self, letters: Sequence[Letter]) -> list[Decision]:
        standings = await self._replays.standings([str(letter.root) for letter in letters])
        now = self._clock()
        return [
            decide(letter, standings.get(str(letter.root)), self._pipeline, now, self._options)
            for letter in letters
        ]

    async def _pace(self, records: int) -> None:
        """Waits for the turn of this many; time in which nothing was due is not caught up on."""
        if self._options.rate:
            turn = max(self._turn, time.monotonic())
            self._turn = turn + records / self._options.rate
            await asyncio.sleep(turn - time.monotonic())

    async def _publish(self, due: Sequence[Decision]) -> None:
        roots = {str(one.letter.root): one.attempt for one in due}
        await self._topic.publish(self._pipeline.topic, [_record(one) for one in due])
        self._unsettled |= roots
        self.counts.replayed += len(due)

    async def _settle(self, most: int) -> bool:
        """Looks until at most `most` records are unsettled; False where nothing gets on."""
        until = time.monotonic() + self._options.wait
        while self.counts.unsettled > most:
            before = self.counts.unsettled
            await self._look()
            self._progress(self.counts)
            if self.counts.unsettled < before:
                until = time.monotonic() + self._options.wait
            elif time.monotonic() > until:
                return False
            else:
                await asyncio.sleep(_LOOK_S)
        return True

    async def _look(self) -> None:
        """Counts those that were settled since."""
        self._looked = time.monotonic()
        roots = list(self._unsettled)
        for start in range(0, len(roots), CHUNK):
            found = await self._replays.standings(roots[start : start + CHUNK])
            for root, standing in found.items():
                if standing.final or standing.attempt >= self._unsettled[root]:
                    del self._unsettled[root]
                    self.counts.settle(standing.outcome)


def decide(
    letter: Letter, standing: Standing | None, pipeline: Pipeline, now: int, options: Options
) -> Decision:
    """What a replay at `now` (microseconds) does with the latest letter of an event."""
    attempt = max(letter.attempt, standing.attempt if standing else 0) + 1
    if belongs(letter, pipeline):
        if standing is not None and standing.final:
            return Decision(letter, Fate.SETTLED, attempt)
        if attempt > _FIRST_REPLAY and not options.again:
            return Decision(letter, Fate.SKIPPED, attempt)
    judgement = judged(letter, pipeline, now)
    if judgement.record is None or (judgement.refusal and not options.unchecked):
        return Decision(letter, Fate.REFUSED, attempt, judgement)
    return Decision(letter, Fate.DUE, attempt, judgement)


def _record(due: Decision) -> Record:
    if due.judgement is None or due.judgement.record is None:
        raise ValueError(f"nothing can be published of {due.letter.key}")
    return replayed(due.judgement.record, due.letter.root, due.attempt)
