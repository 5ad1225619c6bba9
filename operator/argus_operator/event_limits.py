"""How many events people are sent about one object. Pure; the log has them all.

An event that says once more what the last one of its object said is news to nobody: a step after it
failed, and the whole was tried again. One that differs is a change of state, and is told, but not
more often than somebody can read.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

SAME_S: Final = 300.0
"""Seconds within which an object's last event is not repeated."""
MINUTE_S: Final = 60.0
PER_MINUTE: Final = 10
"""Events of one object within any minute."""
OBJECTS: Final = 10_000
"""Objects that are remembered; beyond, the one that was longest without an event is forgotten."""


@dataclass(slots=True)
class _Told:
    """What was sent of one object; times in seconds."""

    last: tuple[str, str] | None = None
    times: deque[float] = field(default_factory=lambda: deque(maxlen=PER_MINUTE))


class EventLimits:
    """Judges events one after the other."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def allow(self, uid: str, reason: str, note: str, now: float) -> bool:
        """Whether this event is to be sent; one that is counts from then on.

        `now` in seconds, by a clock that never goes back.
        """
        told = self._told.setdefault(uid, _Told())
        if _is_repeated(told, (reason, note), now) or _is_crowded(told, now):
            return False
        told.last = (reason, note)
        told.times.append(now)
        self._told.move_to_end(uid)
        if len(self._told) > OBJECTS:
            self._told.popitem(last=False)
        return True


def _is_repeated(told: _Told, event: tuple[str, str], now: float) -> bool:
    return told.last == event and now - told.times[-1] < SAME_S


def _is_crowded(told: _Told, now: float) -> bool:
    return len(told.times) == PER_MINUTE and now - told.times[0] < MINUTE_S
