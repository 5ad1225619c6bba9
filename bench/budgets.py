"""The budgets, and how figures are held against them. Pure.

A figure that was not measured has failed: a budget that nobody measures is none.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Figures = Mapping[str, float]
"""What was measured, by the names that the budgets use."""

MODES: Final = ("single", "batch")
"""Requests of one event, and of a hundred."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a figure may be, or the least."""

    figure: str
    title: str
    must: float
    unit: str
    aim: float | None = None
    least: bool = False
    """Whether `must` is the least that the figure may be instead."""

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps to it."""
        return figure >= self.must if self.least else figure <= self.must


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget and the figure that was held against it; None was not measured."""

    budget: Budget
    figure: float | None

    @property
    def passed(self) -> bool:
        """Whether the figure is there, is a number, and is not above the budget."""
        return (
            self.figure is not None
            and math.isfinite(self.figure)
            and self.budget.holds(self.figure)
        )

    @property
    def reached(self) -> bool:
        """Whether even the aim is met."""
        aim = self.budget.aim
        return self.passed and aim is not None and self.figure is not None and self.figure <= aim


COST: Final = (
    Budget("single.whole", "whole system, single-event requests", 100, "µs/event", aim=60),
    Budget("single.ingest", "ingest, single-event requests", 60, "µs/request"),
    Budget("single.stream", "stream, single-event requests", 14, "µs/event"),
    Budget("single.postgres", "PostgreSQL, single-event requests", 16, "µs/row"),
    Budget("batch.whole", "whole system, batches of 100", 30, "µs/event", aim=15),
    Budget("batch.ingest", "ingest, batches of 100", 5, "µs/event"),
    Budget("batch.stream", "stream, batches of 100", 9, "µs/event"),
    Budget("batch.postgres", "PostgreSQL, batches of 100", 13, "µs/row"),
)
MEMORY: Final = (
    Budget("resident.ingest", "memory of an ingest process at saturation", 150, "MiB"),
    Budget("resident.stream", "memory of a stream process at saturation", 250, "MiB"),
)
LOSS: Final = tuple(
    Budget(f"{mode}.{figure}", f"{title}, {mode}", 0, "events")
    for mode in MODES
    for figure, title in (
        ("lost", "acknowledged and no row"),
        ("twice", "stored twice"),
        ("refused", "requests not answered 202"),
    )
)
LATENCY: Final = tuple(
    Budget(f"{mode}.{figure}", f"{title} at 70 %, {mode}", must, "ms")
    for mode in MODES
    for figure, title, must in (
        ("accept_p99", "accept p99", 25.0),
        ("row_p99", "accept to row visible p99", 2000.0),
        ("live_p99", "accept to live counter p99", 2000.0),
    )
)
DEMANDED: Final[Mapping[str, float]] = {"single": 6_000, "batch": 50_000}
"""Events in a second that the installed system has to take and store."""
THROUGHPUT: Final = tuple(
    budget
    for mode, least in DEMANDED.items()
    for budget in (
        Budget(f"{mode}.borne", f"accepted and stored, {mode}", least, "events/s", least=True),
        Budget(f"{mode}.borne_wrong", f"lost, doubled or refused then, {mode}", 0, "events"),
    )
)
PEER: Final = (
    Budget("edge.single", "ingest over the collector's cheaper encoding, single", 1, "×"),
    Budget("edge.batch", "ingest over the collector's cheaper encoding, batches", 1, "×"),
)
LOCAL: Final = (*COST, *MEMORY, *LATENCY, *LOSS, *PEER)
"""The budgets of `make bench-local`."""
CLUSTER: Final = (*THROUGHPUT, *COST, *MEMORY, *LATENCY, *LOSS)
"""The budgets of `make bench`."""
GROWTH: Final = (
    Budget("growth.tenants.single", "200 tenants × 2 pipelines over one, single", 2.0, "×"),
    Budget("growth.tenants.batch", "200 tenants × 2 pipelines over one, batches", 1.5, "×"),
    Budget("growth.rows.single", "10 million rows over none, single", 1.25, "×"),
    Budget("growth.rows.batch", "10 million rows over none, batches", 1.25, "×"),
    Budget("growth.addresses.single", "100,000 addresses over one, single", 1.3, "×"),
    Budget("growth.addresses.batch", "100,000 addresses over one, batches", 1.3, "×"),
)
"""The budgets of `make bench-growth`."""
SOAK: Final = (
    Budget("soak.ingest_growth", "growth of an ingest process, minute 3 to 10", 8, "MiB"),
    Budget("soak.stream_growth", "growth of a stream process, minute 3 to 10", 8, "MiB"),
    Budget("soak.behind", "storing falls behind accepting by", 2, "s"),
    Budget("soak.lost", "acknowledged and no row", 0, "events"),
    Budget("soak.refused", "requests not answered 202", 0, "requests"),
)
"""The budgets of `make bench-soak`."""
STORAGE: Final = (
    Budget("storage.missing", "offered and no row", 0, "rows"),
    Budget("storage.noise", "the same storage, measured twice, differs by", 10, "%"),
)
"""The budgets of `make bench-storage`: they judge the measurement, not what it found."""


def judge(budgets: Iterable[Budget], figures: Figures) -> list[Verdict]:
    """Each budget with its figure."""
    return [Verdict(budget, figures.get(budget.figure)) for budget in budgets]


def tally(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How many passed, and how many failed."""
    passed = sum(verdict.passed for verdict in verdicts)
    return passed, len(verdicts) - passed
