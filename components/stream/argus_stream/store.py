"""Batches into the database, whatever is wrong with them: the writer's strategy.

All healthy pipelines share one call. What fails is taken apart until it is known whose fault it is:
a pipeline that fails alone is paused alone, a record that is refused alone becomes a dead letter,
unless the guard finds that it is not the record's fault, a fenced partition is opened again.
Everything else is waited for. No failure is skipped over, and slices of one partition are only ever
stored in offset order.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from argus_contract.rejects import Code, Step
from argus_contract.states import LETTERS

from argus_stream import metrics
from argus_stream.backoff import Backoff
from argus_stream.batch import Pending
from argus_stream.decode import Rejected, defect, letter_of, rescreen
from argus_stream.errors import (
    DefectError,
    FencedError,
    RefusedError,
    StoreError,
    TableError,
    UnavailableError,
)
from argus_stream.guard import Guards, counts
from argus_stream.health import Watch
from argus_stream.letters import Letters
from argus_stream.partitions import Partitions
from argus_stream.ports import Outcome, Store
from argus_stream.slices import Letter, Slice
from argus_stream.trial import TRIAL_SECONDS, Trials

logger = logging.getLogger(__name__)

Settled = Callable[[Slice, Outcome], None]
Failure = RefusedError | DefectError | TableError

LOOP: Final = "store"
BISECTION_SECONDS: Final = 2.0
"""How long one pipeline's bisection may keep the others waiting; then it reads again."""
SUSPECT_SECONDS: Final = 60.0
"""How long records of a pipeline are screened closely after the database refused one."""
LATE_SECONDS: Final = 60.0
"""When to read a pipeline again whose letters are on their way, if nobody said that they came."""
_RESUME_SECONDS: Final = 0.1


class Writer:
    """Takes batches and stores them; the only one that writes rows."""

    def __init__(
        self,
        pending: Pending,
        store: Store,
        letters: Letters,
        guards: Guards,
        trials: Trials,
        partitions: Partitions,
        backoff: Backoff,
        watch: Watch,
        settled: Settled,
    ) -> None:
        """`settled` is called, on the loop, with each slice that was stored."""
        self._pending = pending
        self._store = store
        self._letters = letters
        self._guards = guards
        self._trials = trials
        self._partitions = partitions
        self._backoff = backoff
        self._watch = watch
        self._settled = settled

    async def run(self) -> None:
        """Stores batches until no more can come."""
        while True:
            self._watch.idle(LOOP)
            batch = await self._pending.take()
            if batch is None:
                return
            await self.settle(batch)

    async def settle(self, batch: Sequence[Slice]) -> None:
        """Returns when each slice is stored or tried, or its lease closed."""
        trials = [piece for piece in batch if piece.lease.trial]
        groups = _by_topic([piece for piece in batch if not piece.lease.trial])
        failing = [group for group in groups if self._partitions.fails(group[0].lease.source)]
        await self._settle([group for group in groups if group not in failing])
        for group in failing:
            await self._settle([group])
        await self._try(trials)

    async def _try(self, trials: Sequence[Slice]) -> None:
        """As many as may keep the next batch waiting; the rest has its turn after that."""
        until = time.monotonic() + TRIAL_SECONDS
        for piece in trials:
            self._watch.step(LOOP)
            if time.monotonic() > until:
                self._partitions.close(piece.lease, "tried after the next batch", _RESUME_SECONDS)
            else:
                await self._trials.judge(piece)

    async def _settle(self, groups: Sequence[Sequence[Slice]]) -> None:
        """Pipelines that share a call; one that failed lately has its own, after the others."""
        error = await self._attempt([piece for group in groups for piece in group])
        if error is None:
            return
        if len(groups) == 1:
            await self._isolate(groups[0], error)
            return
        failing = [(group, failure) for group in groups if (failure := await self._attempt(group))]
        for group, failure in failing:
            await self._isolate(group, failure)

    async def _attempt(self, group: Sequence[Slice], patience: float = 0.0) -> Failure | None:
        """Stores those of the group whose leases live; gives what is wrong with their data."""
        failures = 0
        while live := [piece for piece in group if piece.lease.live]:
            self._watch.step(LOOP)
            try:
                if self._guarded(live) or await self._mail(live, patience):
                    continue
                self._watch.step(LOOP)
                await self._store_once(live)
                return None
            except FencedError as error:
                self._fenced(live, error)
            except UnavailableError as error:
                failures += 1
                await self._wait(failures, error)
            except (RefusedError, TableError) as error:
                _count_failure(error)
                return error
            except Exception as error:
                logger.exception("a batch failed by a defect")
                defective = DefectError(repr(error))
                _count_failure(defective)
                return defective
        return None

    def _guarded(self, live: Sequence[Slice]) -> bool:
        """Whether letters that are to be sent trip a guard, which then closes their leases."""
        return any(self._trips(group) for group in _by_topic(live))

    def _trips(self, group: Sequence[Slice]) -> bool:
        faults = _unsent_faults(group)
        topic = group[0].lease.source.topic
        reason = self._guards.trips(topic, group) if faults else None
        if reason is None:
            return False
        self._trials.begin(topic, f"{reason}, the last one because of: {faults[-1].error}")
        return True

    async def _mail(self, live: Sequence[Slice], patience: float) -> bool:
        """Sends letters; whether some are not there, so that their leases are closed."""
        missing = await self._letters.send(live, patience)
        for piece in live:
            topic = piece.lease.source.topic
            if topic in missing:
                self._close_without_letters(piece, missing[topic])
        return bool(missing)

    def _close_without_letters(self, piece: Slice, failure: str | None) -> None:
        if failure is None:
            self._partitions.close(piece.lease, "dead letters are on their way", LATE_SECONDS)
        else:
            self._partitions.pause(piece.lease, f"{LETTERS}: {failure}")

    async def _store_once(self, live: Sequence[Slice]) -> None:
        began = time.perf_counter()
        outcomes = await self._store.store(live)
        metrics.STORE_SECONDS.observe(time.perf_counter() - began)
        metrics.BATCH_RECORDS.observe(sum(piece.end - piece.start for piece in live))
        for piece, outcome in zip(live, outcomes, strict=True):
            self._partitions.works(piece.lease.source)
            self._guards.settled(piece)
            self._settled(piece, outcome)

    def _fenced(self, live: Sequence[Slice], error: FencedError) -> None:
        _count_failure(error)
        mine = [piece for piece in live if piece.lease.source == error.source]
        for piece in mine or live:
            self._partitions.close(piece.lease, f"fenced: {error}")

    async def _wait(self, failures: int, error: UnavailableError) -> None:
        _count_failure(error)
        delay = self._backoff.delay(failures)
        extra = {"reason": str(error), "failures": failures, "delay": round(delay, 2)}
        logger.warning("the database is unavailable; the batch waits", extra=extra)
        await asyncio.sleep(delay)

    async def _isolate(self, group: Sequence[Slice], error: Failure) -> None:
        """Deals with slices of one pipeline that cannot be stored as they are."""
        if not isinstance(error, TableError):
            await self._bisect(group, error)
            return
        for piece in group:
            self._partitions.pause(piece.lease, str(error))

    async def _bisect(self, group: Sequence[Slice], error: RefusedError | DefectError) -> None:
        """Stores all but what is refused alone, in offset order."""
        until = time.monotonic() + BISECTION_SECONDS
        as_it_was = True
        for piece in group:
            piece.lease.suspect_until = time.monotonic() + SUSPECT_SECONDS
            as_it_was = not rescreen(piece) and as_it_was
        if as_it_was and len(group) == 1:
            group = self._take_apart(group[0], error)
        work = list(reversed(group))
        while work:
            piece = work.pop()
            if time.monotonic() > until:
                self._partitions.close(piece.lease, "bisection takes a break", _RESUME_SECONDS)
                continue
            failure = await self._attempt([piece], patience=until - time.monotonic())
            if isinstance(failure, TableError):
                self._partitions.pause(piece.lease, str(failure))
            elif failure is not None:
                work.extend(reversed(self._take_apart(piece, failure)))

    def _take_apart(self, piece: Slice, error: RefusedError | DefectError) -> Sequence[Slice]:
        """Halves of a refused slice; a lone row becomes a letter instead."""
        halves = piece.split()
        if halves is not None:
            return halves
        if not piece.rows:
            self._partitions.pause(piece.lease, f"refused without a row: {error}")
            return ()
        if isinstance(error, RefusedError):
            verdict = Rejected(Code.REFUSED, str(error), Step.STORE)
        else:
            verdict = defect(error, Step.STORE)
        piece.withdraw(0, letter_of(piece.records[0], verdict))
        return (piece,)


def _by_topic(batch: Sequence[Slice]) -> list[list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for piece in batch:
        groups[piece.lease.source.topic].append(piece)
    return list(groups.values())


def _unsent_faults(group: Sequence[Slice]) -> list[Letter]:
    return [
        letter for piece in group for letter in piece.letters if not letter.sent and counts(letter)
    ]


def _count_failure(error: StoreError) -> None:
    kind = type(error).__name__.removesuffix("Error").lower()
    metrics.STORE_FAILURES.labels(kind).inc()
