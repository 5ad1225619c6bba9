"""How long to wait after a failure: exponentially longer, never all at the same time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `first` after one failure, doubling to `most`, of which half is random."""

    first: float
    most: float
    jitter: Callable[[], float] = field(default=random.random)
    """Gives a number in [0, 1)."""

    def delay(self, failures: int) -> float:
        """How long to wait after this many failures in a row (1 or more)."""
        full = min(self.most, self.first * 2.0 ** min(failures - 1, 30))
        return full * (0.5 + 0.5 * self.jitter())
