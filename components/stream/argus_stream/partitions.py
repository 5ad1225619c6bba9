"""Which partitions are ours, and in what state: owned, opened, paused, guarded, stopped.

The one place that decides whether a partition is read. No I/O: the opener makes leases of what is
`due`, the reader follows `held`, and whoever meets a failure closes a lease here.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from argus_contract.states import State

from argus_stream import metrics
from argus_stream.backoff import Backoff
from argus_stream.sources import Lease, Route, Source, Standing

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

_OPEN: Final = Standing(State.OPEN)


@dataclass(slots=True, eq=False)
class _Place:
    """A partition of ours; `due` is the clock's second at which to open it."""

    route: Route
    due: float
    lease: Lease | None = None
    known: bool = False
    """Whether it was opened once, so that its topic exists."""
    trouble: Standing | None = None
    """Why it failed; so it stays when it is opened again, until something shows that it works."""


class Partitions:
    """The partitions of this process."""

    def __init__(self, backoff: Backoff, clock: Clock) -> None:
        self._places: dict[Source, _Place] = {}
        self._backoff = backoff
        self._failures: dict[str, int] = {}
        self._guarded: dict[str, str] = {}
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self.version = 0
        """Grows with every change of `held` or `standings`."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change."""
        self._listeners.append(listener)

    def own(self, routes: Mapping[Source, Route]) -> None:
        """Takes over what is new, gives up what is no longer ours, keeps the rest undisturbed."""
        for source in self._places.keys() - routes.keys():
            self._forget(source)
        now = self._clock()
        for source, route in routes.items():
            place = self._places.get(source)
            if place is None:
                self._places[source] = _Place(route, due=now)
            else:
                place.route = route
                if place.lease is not None:
                    place.lease.route = route
        self._changed()

    def _forget(self, source: Source) -> None:
        self._end(self._places.pop(source))
        if all(other.topic != source.topic for other in self._places):
            self._failures.pop(source.topic, None)
            self._unguard(source.topic)

    def held(self) -> dict[Source, Lease | None]:
        """What the reader reads: each known partition with its lease, None where it is paused."""
        return {source: place.lease for source, place in self._places.items() if place.known}

    def due(self) -> list[Source]:
        """What has to be opened now."""
        now = self._clock()
        return [
            source
            for source, place in self._places.items()
            if place.lease is None and place.due <= now
        ]

    def waits(self, source: Source) -> float | None:
        """Seconds until the partition is opened; None where it is open, stopped or not ours."""
        place = self._places.get(source)
        if place is None or place.lease is not None or place.due == math.inf:
            return None
        return max(0.0, place.due - self._clock())

    def standings(self) -> dict[Source, Standing]:
        """What each partition does; those that nobody has tried to open yet are left out."""
        return {
            source: standing
            for source, place in self._places.items()
            if (standing := self._standing(source, place)) is not None
        }

    def _standing(self, source: Source, place: _Place) -> Standing | None:
        guarded = self._guarded.get(source.topic)
        if guarded is not None and not _is_stopped(place):
            return Standing(State.GUARDED, guarded)
        return place.trouble or (_OPEN if place.known else None)

    def opened(self, source: Source, offset: int) -> Lease | None:
        """Makes a lease that reads from `offset`; None where the partition is no longer ours.

        While the guard is up it is a lease for trial.
        """
        place = self._places.get(source)
        if place is None:
            return None
        if not place.known:
            place.known = True
            place.trouble = None
        trial = source.topic in self._guarded
        place.lease = Lease(source, place.route, offset, trial=trial)
        self._changed()
        return place.lease

    def postpone(self, source: Source, reason: str) -> None:
        """Opening failed: tries again later."""
        place = self._places.get(source)
        if place is not None and place.lease is None:
            place.due = self._clock() + self._pause(source.topic)
            self._trouble(place, State.PAUSED, reason)
            logger.info("partition waits", extra={**_names(source), "reason": reason})
            self._changed()

    def absent(self, source: Source, reason: str) -> None:
        """The topic is not there: reads it no more until it is opened again."""
        place = self._places.get(source)
        if place is None:
            return
        place.known = False
        self._end(place)
        self.postpone(source, reason)

    def close(self, lease: Lease, reason: str, delay: float = 0.0) -> None:
        """Ends this lease, and opens the partition again after `delay` seconds.

        Nothing is wrong with its pipeline, so it goes on as what it was.
        """
        place = self._places.get(lease.source)
        lease.live = False
        if place is not None and place.lease is lease:
            place.lease = None
            place.due = self._clock() + delay
            extra = {**_names(lease.source), "reason": reason, "delay": round(delay, 2)}
            logger.warning("partition closed", extra=extra)
            self._changed()

    def pause(self, lease: Lease, reason: str) -> None:
        """Ends this lease because its pipeline fails; each failure in a row pauses it longer."""
        if not lease.live:
            return
        metrics.PAUSES.labels(lease.source.topic).inc()
        place = self._places.get(lease.source)
        if place is not None and place.lease is lease:
            self._trouble(place, State.PAUSED, reason)
        self.close(lease, reason, self._pause(lease.source.topic))

    def stop(self, source: Source, reason: str, again: float = math.inf) -> None:
        """Ends the lease because the log cannot be read on: somebody has to act.

        The partition is opened again after `again` seconds, or never.
        """
        place = self._places.get(source)
        if place is None:
            return
        standing = Standing(State.STOPPED, reason)
        if place.trouble != standing:
            logger.error("partition stopped", extra={**_names(source), "reason": reason})
        place.trouble = standing
        self._end(place)
        place.due = self._clock() + again
        self._changed()

    def guard(self, topic: str, reason: str, delay: float) -> None:
        """Ends all leases of a pipeline: after `delay` seconds its records are only tried."""
        if topic not in self._guarded:
            metrics.GUARDED.labels(topic).set(1)
            logger.error("guard tripped", extra={"topic": topic, "reason": reason})
        self._guarded[topic] = reason
        self._reopen(topic, delay)

    def release(self, topic: str) -> None:
        """The guard's pipeline works again: it is read on from where it stood."""
        if self._unguard(topic):
            logger.warning("guard released", extra={"topic": topic})
            self._reopen(topic, 0.0)

    def _reopen(self, topic: str, delay: float) -> None:
        due = self._clock() + delay
        for source, place in self._places.items():
            if source.topic == topic and place.due != math.inf:
                self._end(place)
                place.due = due
        self._changed()

    def _unguard(self, topic: str) -> bool:
        if self._guarded.pop(topic, None) is None:
            return False
        metrics.GUARDED.remove(topic)
        return True

    def works(self, source: Source) -> None:
        """A pipeline stored something: its next failure is the first of a row."""
        self._failures.pop(source.topic, None)
        self.recovered(source)

    def fails(self, source: Source) -> bool:
        """Whether the pipeline failed since it stored something."""
        return source.topic in self._failures

    def recovered(self, source: Source) -> None:
        """Nothing is left to be done here, or it was done: what went wrong is over."""
        place = self._places.get(source)
        if place is not None and place.trouble is not None and place.lease is not None:
            place.trouble = None
            self._changed()

    def letters_done(self, topic: str, failure: str | None) -> None:
        """Letters that took long have come, or failed: opens what waited for them, or pauses it."""
        delay = 0.0 if failure is None else self._pause(topic)
        for source, place in self._places.items():
            if source.topic != topic or place.lease is not None or self._is_held(source, place):
                continue
            if failure is None:
                place.due = min(place.due, self._clock())
            else:
                metrics.PAUSES.labels(topic).inc()
                place.due = self._clock() + delay
                place.trouble = Standing(State.PAUSED, failure)
        self._changed()

    def _is_held(self, source: Source, place: _Place) -> bool:
        """Whether something else decides when the partition is opened."""
        return _is_stopped(place) or source.topic in self._guarded

    def count(self) -> dict[str, int]:
        """How many partitions are in which state, for the metrics."""
        counts = {"open": 0, "waiting": 0, "guarded": 0, "stopped": 0}
        for source, place in self._places.items():
            counts[self._count_as(source, place)] += 1
        return counts

    def _count_as(self, source: Source, place: _Place) -> str:
        standing = self._standing(source, place)
        if standing is not None and standing.state in (State.GUARDED, State.STOPPED):
            return standing.state
        return "waiting" if place.lease is None else "open"

    def _pause(self, topic: str) -> float:
        failures = self._failures[topic] = self._failures.get(topic, 0) + 1
        return self._backoff.delay(failures)

    @staticmethod
    def _trouble(place: _Place, state: State, reason: str) -> None:
        """A partition that was stopped remains so, whatever fails while it is tried again."""
        if not _is_stopped(place):
            place.trouble = Standing(state, reason)

    @staticmethod
    def _end(place: _Place) -> None:
        if place.lease is not None:
            place.lease.live = False
            place.lease = None

    def _changed(self) -> None:
        self.version += 1
        for listener in self._listeners:
            listener()


def _is_stopped(place: _Place) -> bool:
    return place.trouble is not None and place.trouble.state is State.STOPPED


def _names(source: Source) -> dict[str, object]:
    return {"topic": source.topic, "partition": source.partition}
