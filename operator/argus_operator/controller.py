"""A queue of what is to be reconciled: each by one worker at a time, soon after anything woke it.

What is woken while it is being worked on is looked at once more afterwards, so no change is missed;
what fails comes back with back-off and jitter, and holds up no other. One queue for the families,
one for the replays.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from argus_runtime import logs

from argus_operator import metrics
from argus_operator.errors import BusyError, OperatorError, UnavailableError
from argus_operator.reconcile.verdict import Verdict
from argus_operator.settings import ReconcileSettings

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Controller(Generic[Key]):
    """Wakes, runs and repeats; `run` is a supervised task, all else is called on its loop."""

    def __init__(
        self,
        kind: str,
        reconcile: Callable[[Key], Awaitable[Verdict]],
        settings: ReconcileSettings,
    ) -> None:
        """`kind` is what the keys are of, in logs and metrics."""
        self._kind = kind
        self._reconcile = reconcile
        self._settings = settings
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._attempts: dict[Key, int] = {}

    def wake(self, key: Key) -> None:
        """Has it looked at as soon as a worker is free; many wakes may be one look."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)
            metrics.QUEUE.labels(self._kind).set(self._queue.qsize())

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.workers):
                group.create_task(self._work(), name=f"reconciler-{number}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            metrics.QUEUE.labels(self._kind).set(self._queue.qsize())
            self._queued.discard(key)
            self._running.add(key)
            try:
                verdict = await self._once(key)
            finally:
                self._running.discard(key)
            self._follow_up(key, verdict)

    async def _once(self, key: Key) -> Verdict:
        """One look; whatever goes wrong is logged, counted and tried again."""
        with logs.bound(**{self._kind: str(key)}):
            return await self._counted(key)

    async def _counted(self, key: Key) -> Verdict:
        """The same, in its log context."""
        started = time.monotonic()
        outcome, verdict = "failed", Verdict(retry=True)
        try:
            async with asyncio.timeout(self._settings.timeout):
                verdict = await self._reconcile(key)
            outcome = "retry" if verdict.retry else "done"
        except (UnavailableError, BusyError) as error:
            outcome = "retry"
            logger.warning("reconcile", extra={"reason": error.message})
        except OperatorError as error:
            logger.error("reconcile", extra={"reason": error.message})
        except Exception:  # a fault with one must not stop the others
            logger.exception("reconcile failed")
        metrics.RECONCILES.labels(self._kind, outcome).inc()
        metrics.RECONCILE_SECONDS.labels(self._kind).observe(time.monotonic() - started)
        return verdict

    def _follow_up(self, key: Key, verdict: Verdict) -> None:
        if not verdict.retry:
            self._attempts.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.wake(key)
        elif verdict.retry:
            self._later(key, self._backoff(key))
        elif verdict.again_in is not None:
            self._later(key, verdict.again_in)

    def _backoff(self, key: Key) -> float:
        attempts = self._attempts[key] = min(self._attempts.get(key, 0) + 1, 32)
        longest = min(self._settings.backoff * 2.0 ** (attempts - 1), self._settings.backoff_max)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret

    def _later(self, key: Key, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(seconds, self.wake, key)
