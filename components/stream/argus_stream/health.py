"""Whether the loops move: a step that began long ago and has not ended means that they do not.

A dependency that is away is not our illness: whoever waits for it begins a new step with each try.
"""

from collections.abc import Callable


class Watch:
    """Remembers when each loop last began a step; a loop that waits for work is idle."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        """`limit` is the longest that a step may take, in seconds of `clock`."""
        self._limit = limit
        self._clock = clock
        self._since: dict[str, float] = {}

    def step(self, loop: str) -> None:
        """This loop begins a step now."""
        self._since[loop] = self._clock()

    def idle(self, loop: str) -> None:
        """This loop has nothing to do, which is no reason to worry."""
        self._since.pop(loop, None)

    def stuck(self) -> str | None:
        """Which loop stands still, in words; None where all move."""
        now = self._clock()
        for loop, since in self._since.items():
            if now - since > self._limit:
                return f"the {loop} loop has not moved for {now - since:.0f} s"
        return None
