"""What one run does to the world, told by whoever does it, so that nobody has to pass it back.

A run that wrote anything proves nothing about what was seen before it; and drift, which is what has
to be done although the spec was applied already, is counted.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from argus_operator import metrics
from argus_operator.conditions import SYNCED
from argus_operator.models.common import ConditionStatus
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Resource


@dataclass(slots=True)
class Run:
    """One run; the tasks that it starts share it."""

    acted: bool = False
    failed: bool = False

    def of(self, verdict: Verdict) -> Verdict:
        """The run's verdict, with what was noted meanwhile."""
        return dataclasses.replace(verdict, acted=self.acted, failed=self.failed)


_run: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def recording() -> Iterator[Run]:
    """Collects what is noted inside the block."""
    run = Run()
    token = _run.set(run)
    try:
        yield run
    finally:
        _run.reset(token)


def note(what: str, *, drift: bool = False) -> None:
    """Says that something is being written; `what` is one of few, since it labels a metric.

    To be called before the write: one that is cut short may have been made.
    """
    run = _run.get()
    if run is not None:
        run.acted = True
    if drift:
        metrics.DRIFT_REPAIRED.labels(what).inc()


def note_failure() -> None:
    """Says that a step met an error."""
    run = _run.get()
    if run is not None:
        run.failed = True


def applied(subject: Resource) -> bool:
    """Whether the present spec was applied before: what has to be done now is then drift."""
    return any(
        old.type == SYNCED
        and old.status is ConditionStatus.TRUE
        and old.observed_generation == subject.meta.generation
        for old in subject.conditions
    )
