"""Trying the next records of a guarded pipeline: everything that storing does, undone afterwards.

Nothing here stores or dead-letters anything. What a lease for trial read is judged and dropped; the
pipeline is read on from where it stood, or tried again later.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from argus_stream.decode import rescreen
from argus_stream.errors import FencedError, RefusedError, StoreError
from argus_stream.guard import Guards, counts
from argus_stream.partitions import Clock, Partitions
from argus_stream.ports import Store
from argus_stream.slices import Gap, Slice
from argus_stream.sources import Lease, Source

logger = logging.getLogger(__name__)

TRIAL_SECONDS: Final = 1.0
"""How long one trial may keep other pipelines waiting; what is left counts as not tried."""
_STALE_TRIALS: Final = 3
"""After how many intervals a result is too old: its partition has gone, or stands still."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What a partition's last trial came to: records tried, and refused; when, by the clock."""

    tried: int
    refused: int
    at: float


class Trials:
    """Tries records of guarded pipelines, and releases the guard where most of them pass."""

    def __init__(
        self,
        store: Store,
        guards: Guards,
        partitions: Partitions,
        *,
        ratio: float,
        interval: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """`interval` is the time between two trials of a partition, in seconds."""
        self._store = store
        self._guards = guards
        self._partitions = partitions
        self._ratio = ratio
        self._interval = interval
        self._clock = clock
        self._results: dict[Source, _Result] = {}

    def begin(self, topic: str, reason: str) -> None:
        """The guard of this pipeline has tripped."""
        self._forget(topic)
        self._partitions.guard(topic, self._advice(reason), self._interval)

    async def judge(self, piece: Slice) -> None:
        """Tries what was read, and releases the guard or leaves it for the next trial.

        The results of a pipeline's partitions are added up: one that works does not speak for one
        whose records are all refused.
        """
        lease = piece.lease
        if not lease.live:
            return
        try:
            rescreen(piece)
            result = await self._try(piece)
        except FencedError as error:
            self._partitions.close(lease, f"fenced: {error}")
        except StoreError as error:
            self._partitions.close(lease, f"could not be tried: {error}", self._interval)
        else:
            if lease.live:
                self._results[lease.source] = _Result(*result, self._clock())
                self._conclude(lease)

    def _conclude(self, lease: Lease) -> None:
        topic = lease.source.topic
        results = self._results_of(topic)
        tried = sum(result.tried for result in results)
        refused = sum(result.refused for result in results)
        extra = {"topic": topic, "tried": tried, "refused": refused}
        logger.info("a guarded pipeline was tried", extra=extra)
        if refused and refused >= self._ratio * tried:
            reason = f"{refused} of {tried} records are refused"
            self._partitions.close(lease, reason, self._interval)
            return
        self._forget(topic)
        if not tried:  # what was read never reaches the database, and holds up what comes after it
            self._guards.doubt(topic)
        self._partitions.release(topic)

    def _results_of(self, topic: str) -> list[_Result]:
        held = self._partitions.held()
        fresh = self._clock() - _STALE_TRIALS * self._interval
        return [
            result
            for source, result in self._results.items()
            if source.topic == topic and source in held and result.at >= fresh
        ]

    def _forget(self, topic: str) -> None:
        self._guards.forget(topic)
        self._results = {s: result for s, result in self._results.items() if s.topic != topic}

    async def _try(self, piece: Slice) -> tuple[int, int]:
        """How many records were tried, and refused: each for itself, unless all pass at once."""
        refused = sum(counts(letter) for letter in piece.letters)
        tried = refused
        whole = _alone(piece, range(len(piece.rows)))
        if not whole.rows or not await self._refuses(whole):
            return tried + len(whole.rows), refused
        until = self._clock() + TRIAL_SECONDS
        for single in _singles(piece):
            if self._clock() > until:
                break
            tried += 1
            refused += await self._refuses(single)
        return tried, refused

    async def _refuses(self, piece: Slice) -> bool:
        try:
            await self._store.rehearse(piece)
        except RefusedError:
            return True
        except StoreError:
            raise
        except Exception:
            logger.exception("a trial failed by a defect")
            return True
        return False

    def _advice(self, reason: str) -> str:
        return (
            f"{reason}. Nothing more is dead-lettered: the records wait in Kafka. Look for a "
            "constraint, trigger or type of its table that refuses them, and remove it; the next "
            f"records are tried every {self._interval:.0f} s, and reading goes on by itself once "
            "most of them pass"
        )


def _singles(piece: Slice) -> Iterator[Slice]:
    for index, record in enumerate(piece.records):
        if record.offset not in piece.replays:
            yield _alone(piece, range(index, index + 1))


def _alone(piece: Slice, rows: range) -> Slice:
    """The slice with these rows only, everything else of it a gap."""
    return Slice(
        piece.lease,
        piece.start,
        piece.end,
        piece.rows[rows.start : rows.stop],
        piece.records[rows.start : rows.stop],
        gaps=[Gap(piece.start + len(rows), piece.end)],
    )
