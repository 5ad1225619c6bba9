"""The queue of families: each reconciled by one worker at a time, soon after anything woke it.

A family that is woken while it is being worked on is looked at once more afterwards, so no change
is missed; one that fails comes back with back-off and jitter, and holds up no other.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from argus_operator import metrics
from argus_operator.errors import BusyError, OperatorError, UnavailableError
from argus_operator.reconcile.family import Verdict
from argus_operator.resources import Family
from argus_operator.settings import ReconcileSettings

logger = logging.getLogger(__name__)

Reconcile = Callable[[Family], Awaitable[Verdict]]


class Controller:
    """Wakes, runs and repeats; `run` is a supervised task, all else is called on its loop."""

    def __init__(self, reconcile: Reconcile, settings: ReconcileSettings) -> None:
        self._reconcile = reconcile
        self._settings = settings
        self._queue: asyncio.Queue[Family] = asyncio.Queue()
        self._queued: set[Family] = set()
        self._running: set[Family] = set()
        self._again: set[Family] = set()
        self._timers: dict[Family, asyncio.TimerHandle] = {}
        self._attempts: dict[Family, int] = {}

    def wake(self, family: Family) -> None:
        """Has the family looked at as soon as a worker is free; many wakes may be one look."""
        timer = self._timers.pop(family, None)
        if timer is not None:
            timer.cancel()
        if family in self._running:
            self._again.add(family)
        elif family not in self._queued:
            self._queued.add(family)
            self._queue.put_nowait(family)
            metrics.QUEUE.set(self._queue.qsize())

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.workers):
                group.create_task(self._work(), name=f"reconciler-{number}")

    async def _work(self) -> None:
        while True:
            family = await self._queue.get()
            metrics.QUEUE.set(self._queue.qsize())
            self._queued.discard(family)
            self._running.add(family)
            try:
                verdict = await self._once(family)
            finally:
                self._running.discard(family)
            self._follow_up(family, verdict)

    async def _once(self, family: Family) -> Verdict:
        """One look; whatever goes wrong is logged, counted and tried again."""
        started = time.monotonic()
        outcome, verdict = "failed", Verdict(retry=True)
        try:
            async with asyncio.timeout(self._settings.timeout):
                verdict = await self._reconcile(family)
            outcome = "retry" if verdict.retry else "done"
        except (UnavailableError, BusyError) as error:
            outcome = "retry"
            logger.warning("reconcile", extra={"tenant": str(family), "reason": error.message})
        except OperatorError as error:
            logger.error("reconcile", extra={"tenant": str(family), "reason": error.message})
        except Exception:  # a fault with one tenant must not stop the others
            logger.exception("reconcile failed", extra={"tenant": str(family)})
        metrics.RECONCILES.labels(outcome).inc()
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - started)
        return verdict

    def _follow_up(self, family: Family, verdict: Verdict) -> None:
        if not verdict.retry:
            self._attempts.pop(family, None)
        if family in self._again:
            self._again.discard(family)
            self.wake(family)
        elif verdict.retry:
            self._later(family, self._backoff(family))
        elif verdict.again_in is not None:
            self._later(family, verdict.again_in)

    def _backoff(self, family: Family) -> float:
        attempts = self._attempts[family] = min(self._attempts.get(family, 0) + 1, 32)
        longest = min(self._settings.backoff * 2.0 ** (attempts - 1), self._settings.backoff_max)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret

    def _later(self, family: Family, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[family] = loop.call_later(seconds, self.wake, family)
