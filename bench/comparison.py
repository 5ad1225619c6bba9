"""Figures of two benches as ratios: another machine, another day, the same question. Pure.

CPU is compared after dividing by what a bare HTTP server costs a request in the same bench, so that
a slower machine does not look like slower code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.budgets import MODES

UNIT: Final = "ceiling.http"
"""The cost that stands for the machine's speed."""
COSTS: Final = ("whole", "ingest", "kafka", "redis", "stream", "postgres")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure now over the same figure then; above 1 is dearer."""

    figure: str
    plain: float
    normalised: float | None
    """Where both benches measured the unit."""

    @property
    def judged(self) -> float:
        """The one that counts."""
        return self.plain if self.normalised is None else self.normalised


def compare(now: Mapping[str, float], then: Mapping[str, float]) -> list[Ratio]:
    """The ratios of all costs that both have; raises ValueError where they have none in common."""
    speed = then[UNIT] / now[UNIT] if now.get(UNIT) and then.get(UNIT) else None
    ratios = [
        _ratio(name, now[name] / then[name], speed)
        for name in (f"{mode}.{cost}" for mode in MODES for cost in COSTS)
        if name in now and then.get(name)
    ]
    if not ratios:
        raise ValueError("the two benches have no cost in common")
    return ratios


def worse(ratios: Sequence[Ratio], most: float) -> list[Ratio]:
    """Those that became dearer than `most` times."""
    return [ratio for ratio in ratios if ratio.judged > most]


def _ratio(name: str, plain: float, speed: float | None) -> Ratio:
    return Ratio(name, plain, None if speed is None else plain * speed)
