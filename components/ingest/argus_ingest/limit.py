"""The tenants' token buckets: all waiting checks are judged in one call a tick.

While one call is under way the next checks gather, so the more there is to do the cheaper each
becomes, and alone none waits. Should the shared buckets fail or be slow, local ones stand in at
once, each process with its share of the limits, until the shared ones answer again; nobody waits
for that.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol

from argus_ingest import metrics
from argus_ingest.buckets import Check, LocalBuckets, Verdict

logger = logging.getLogger(__name__)

_GRACE: Final = 0.005
_MAX_CHECKS: Final = 2_048
"""Most checks in one call: some 4 ms of Redis's time."""


class BucketsAwayError(Exception):
    """The shared buckets cannot be asked now."""


class SharedBuckets(Protocol):
    """Buckets that all processes spend from."""

    async def judge(self, checks: Sequence[Check]) -> list[Verdict]:
        """The verdicts in order; raises BucketsAwayError."""

    async def connect(self) -> None:
        """Makes `judge` work again after it failed; raises BucketsAwayError."""

    async def close(self) -> None:
        """Disconnects for good."""


Waiting = tuple[Check, "asyncio.Future[Verdict]"]


class Limiter:
    """Asks the shared buckets, or the local ones while those are away."""

    def __init__(
        self, shared: SharedBuckets, local: LocalBuckets, *, timeout: float, retry: float
    ) -> None:
        """`timeout` in seconds bounds one call; `retry` is the pause between reconnections."""
        self._shared = shared
        self._local = local
        self._timeout = timeout
        self._retry = retry
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._away = asyncio.Event()
        self._away.set()
        metrics.LIMITER_LOCAL.set(1)
        self._loop = asyncio.get_running_loop()

    @property
    def away(self) -> bool:
        """Whether local buckets stand in."""
        return self._away.is_set()

    def check(self, check: Check) -> "asyncio.Future[Verdict]":
        """Resolves to the verdict within two timeouts, whatever happens to Redis."""
        future: asyncio.Future[Verdict] = self._loop.create_future()
        if self._away.is_set():
            future.set_result(self._judge_locally([check])[0])
            return future
        self._waiting.append((check, future))
        self._wake.set()
        return future

    async def run(self) -> None:
        """Judges for ever; a supervised task. The first connection is made here too."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            group.create_task(self._reconnect())

    async def _tick(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                waiting, self._waiting = (
                    self._waiting[:_MAX_CHECKS],
                    self._waiting[_MAX_CHECKS:],
                )
                verdicts = await self._judge([check for check, _ in waiting])
                for (_, future), verdict in zip(waiting, verdicts, strict=True):
                    if not future.done():
                        future.set_result(verdict)

    async def _judge(self, checks: list[Check]) -> list[Verdict]:
        if self._away.is_set():
            return self._judge_locally(checks)
        started = self._loop.time()
        try:
            verdicts = await self._call(checks)
        except BucketsAwayError as error:
            metrics.LIMITER_FAILURES.inc()
            metrics.LIMITER_LOCAL.set(1)
            logger.warning("local buckets stand in for Redis: %s", error)
            self._away.set()
            return self._judge_locally(checks)
        metrics.LIMITER_CALLS.inc()
        metrics.LIMITER_SECONDS.observe(self._loop.time() - started)
        metrics.SHARED_CHECKS.inc(len(checks))
        return verdicts

    async def _call(self, checks: list[Check]) -> list[Verdict]:
        """One call in time; raises BucketsAwayError.

        An answer that is only late because this process had no turn is not too late: the loop runs
        timers before it reads sockets, so it reads once more before the call is given up.
        """
        call = self._loop.create_task(self._shared.judge(checks))
        try:
            for patience in (self._timeout, _GRACE):
                await asyncio.wait((call,), timeout=patience)
                if call.done():
                    return call.result()
        finally:
            call.cancel()
        raise BucketsAwayError(f"no answer within {self._timeout:g} s")

    def _judge_locally(self, checks: list[Check]) -> list[Verdict]:
        metrics.LOCAL_CHECKS.inc(len(checks))
        now = time.monotonic_ns() // 1000
        return [self._local.judge(check, now) for check in checks]

    async def _reconnect(self) -> None:
        while True:
            await self._away.wait()
            try:
                await self._shared.connect()
                # An engine that connects but answers too slowly is away as well.
                await self._call([])
            except BucketsAwayError as error:
                logger.info("Redis is still away: %s", error)
                await asyncio.sleep(self._retry)
            else:
                logger.info("the shared buckets are there")
                metrics.LIMITER_LOCAL.set(0)
                self._away.clear()
