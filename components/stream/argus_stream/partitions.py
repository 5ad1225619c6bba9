"""Which partitions are ours, and in what state: owned, opened, paused, stopped.

The one place that decides whether a partition is read. No I/O: the opener makes leases of what is
`due`, the reader follows `held`, and whoever meets a failure closes a lease here.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argus_stream import metrics
from argus_stream.backoff import Backoff
from argus_stream.sources import Lease, Route, Source

logger = logging.getLogger(__name__)

Clock = Callable[[], float]


@dataclass(slots=True, eq=False)
class _Place:
    """A partition of ours; `due` is the clock's second at which to open it."""

    route: Route
    due: float
    lease: Lease | None = None
    known: bool = False
    """Whether it was opened once, so that its topic exists."""
    stopped: str | None = None


class Partitions:
    """The partitions of this process."""

    def __init__(self, backoff: Backoff, clock: Clock) -> None:
        self._places: dict[Source, _Place] = {}
        self._backoff = backoff
        self._failures: dict[str, int] = {}
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self.version = 0
        """Grows with every change of `held`."""

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
        place = self._places.pop(source)
        if place.lease is not None:
            place.lease.live = False
        if all(other.topic != source.topic for other in self._places):
            self._failures.pop(source.topic, None)

    def held(self) -> dict[Source, Lease | None]:
        """What the reader reads: each known partition with its lease, None where it is paused."""
        return {source: place.lease for source, place in self._places.items() if place.known}

    def due(self) -> list[Source]:
        """What has to be opened now."""
        now = self._clock()
        return [
            source
            for source, place in self._places.items()
            if place.lease is None and place.stopped is None and place.due <= now
        ]

    def waits(self, source: Source) -> float | None:
        """Seconds until the partition is opened; None where it is open, stopped or not ours."""
        place = self._places.get(source)
        if place is None or place.lease is not None or place.stopped is not None:
            return None
        return max(0.0, place.due - self._clock())

    def opened(self, source: Source, offset: int) -> Lease | None:
        """Makes a lease that reads from `offset`; None where the partition is no longer ours."""
        place = self._places.get(source)
        if place is None:
            return None
        place.known = True
        place.lease = Lease(source, place.route, offset)
        self._changed()
        return place.lease

    def postpone(self, source: Source, reason: str) -> None:
        """Opening failed: tries again later."""
        place = self._places.get(source)
        if place is not None and place.lease is None:
            place.due = self._clock() + self._pause(source.topic)
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
        """Ends this lease, and opens the partition again after `delay` seconds."""
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
        if lease.live:
            metrics.PAUSES.labels(lease.source.topic).inc()
            self.close(lease, reason, self._pause(lease.source.topic))

    def stop(self, source: Source, reason: str) -> None:
        """Reads this partition no more: its log does not hold what SQL says was read."""
        place = self._places.get(source)
        if place is None or place.stopped is not None:
            return
        logger.error("partition stopped", extra={**_names(source), "reason": reason})
        place.stopped = reason
        self._end(place)
        self._changed()

    def works(self, topic: str) -> None:
        """A pipeline stored something: its next failure is the first of a row."""
        self._failures.pop(topic, None)

    def count(self) -> dict[str, int]:
        """How many partitions are in which state, for the metrics."""
        counts = {"open": 0, "waiting": 0, "stopped": 0}
        for place in self._places.values():
            counts["stopped" if place.stopped else "open" if place.lease else "waiting"] += 1
        return counts

    def _pause(self, topic: str) -> float:
        failures = self._failures[topic] = self._failures.get(topic, 0) + 1
        return self._backoff.delay(failures)

    @staticmethod
    def _end(place: _Place) -> None:
        if place.lease is not None:
            place.lease.live = False
            place.lease = None

    def _changed(self) -> None:
        self.version += 1
        for listener in self._listeners:
            listener()


def _names(source: Source) -> dict[str, object]:
    return {"topic": source.topic, "partition": source.partition}
