"""Which event times a pipeline takes: a time far off would make chunks that hold nothing else.

The window is the stream's judgement, because it depends on when a record is read; whoever replays
asks the same question beforehand.
"""

from dataclasses import dataclass
from typing import Final

from argus_contract import sizes
from argus_contract.rejects import Code
from argus_contract.times import SECOND, from_micros, rfc3339

_MAX_AHEAD: Final = sizes.MAX_CLOCK_AHEAD_S * SECOND


@dataclass(frozen=True, slots=True)
class Window:
    """Accepted event times between `oldest` and `newest`, neither of them included.

    In microseconds since the epoch.
    """

    oldest: int
    newest: int

    @classmethod
    def at(cls, now: int, back: int) -> "Window":
        """The window at `now` (microseconds) of a pipeline that takes `back` seconds."""
        return cls(now - back * SECOND, now + _MAX_AHEAD)

    def __contains__(self, time: int) -> bool:
        return self.oldest < time < self.newest

    def refusal(self, time: int) -> tuple[Code, str]:
        """Why an event of this time, which is outside, is not taken: as a code and in words."""
        if time <= self.oldest:
            return Code.TOO_OLD, f"{_when(time)} is before {_when(self.oldest)}"
        return Code.TOO_NEW, f"{_when(time)} is after {_when(self.newest)}"


def _when(micros: int) -> str:
    try:
        from_micros(micros)
    except OverflowError:
        return f"{micros} µs since 1970"
    return rfc3339(micros)
