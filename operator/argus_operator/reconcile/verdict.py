"""What a look at something comes to, for the queue that has to look again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it has to be looked at again before the next resync."""

    retry: bool = False
    """A dependency failed: with back-off."""
    again_in: float | None = None
    """Something else is still to happen: after this many seconds."""
