"""The few statistics that the bench needs. Pure."""

import math
from collections.abc import Sequence


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed (nearest rank).

    Raises ValueError for an empty sequence: of nothing, nothing is known.
    """
    if not ascending:
        raise ValueError("a percentile of no values")
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def window(counts: Sequence[int], tick: float, start: float, end: float) -> float:
    """How many of what was counted in ticks of `tick` seconds fell into [start, end) seconds.

    Of a tick that only partly lies inside, that part is taken.
    """
    total = 0.0
    first = max(0, int(start / tick))
    for index in range(first, min(len(counts), math.ceil(end / tick))):
        inside = min(end, (index + 1) * tick) - max(start, index * tick)
        total += counts[index] * min(1.0, max(0.0, inside / tick))
    return total


def zipf(count: int, exponent: float = 1.0) -> list[float]:
    """Weights of `count` ranks by Zipf's law, that add up to 1."""
    weights = [1 / rank**exponent for rank in range(1, count + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]
