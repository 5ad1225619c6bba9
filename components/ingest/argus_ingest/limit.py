"""The tenants' token buckets: all waiting checks are judged in one call a tick.

While one call is under way the next checks gather, so the more there is to do the cheaper each
becomes, and alone none waits. Should the shared buckets fail or be slow, local ones stand in at
once, each process with its share of the limits, until the shared ones answer again, and soon;
nobody waits for that. Slow is one call that takes too long, and also many that take long: what an
outage may cost is bounded as a whole.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from argus_ingest import metrics
from argus_ingest.buckets import Check, LocalBuckets, Verdict

logger = logging.getLogger(__name__)

_GRACE: Final = 0.005
_MAX_CHECKS: Final = 2_048
"""Most checks in one call: some 4 ms of Redis's time."""
_FORGIVEN: Final = 0.05
"""Seconds of slowness forgiven in a second."""


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


class Patience:
    """How much slowness is borne: it adds up, and is forgiven with time."""

    def __init__(self, most: float) -> None:
        """`most` seconds that are not forgiven yet are too much."""
        self._most = most
        self._lost = 0.0
        self._as_of = 0.0

    def bears(self, lost: float, now: float) -> bool:
        """Counts seconds lost; whether that is borne. `now` in seconds of a steady clock."""
        forgiven = _FORGIVEN * (now - self._as_of)
        self._lost = max(0.0, self._lost - forgiven) + lost
        self._as_of = now
        return self._lost <= self._most


Waiting = tuple[Check, "asyncio.Future[Verdict]"]


class Limiter:
    """Asks the shared buckets, or the local ones while those are away."""

    def __init__(
        self,
        shared: SharedBuckets,
        local: LocalBuckets,
        *,
        timeout: float,
        calm: float,
        pace: float,
        retry: float,
        on_switch: Callable[[], object],
    ) -> None:
        """`timeout` in seconds bounds one call, and what calls take together beyond `calm` each;
        calls begin `pace` apart, and `retry` is the pause between reconnections. `on_switch` is
        called when from now on other buckets judge."""
        self._shared = shared
        self._local = local
        self._timeout = timeout
        self._calm = calm
        self._patience = Patience(timeout)
        self._pace = pace
        self._retry = retry
        self._on_switch = on_switch
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
        """Judges for ever; a supervised task. The first connection is made here too.

        However it ends, nobody is left waiting: from then on local buckets decide.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick())
                group.create_task(self._reconnect())
        finally:
            self._away.set()
            _tell(self._waiting, self._judge_locally([check for check, _ in self._waiting]))

    async def _tick(self) -> None:
        next_call = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                now = self._loop.time()
                if now < next_call:
                    await asyncio.sleep(next_call - now)
                next_call = self._loop.time() + self._pace
                # They count as waiting until they are told, should this task end meanwhile.
                waiting = self._waiting[:_MAX_CHECKS]
                _tell(waiting, await self._judge([check for check, _ in waiting]))
                del self._waiting[: len(waiting)]

    async def _judge(self, checks: list[Check]) -> list[Verdict]:
        if self._away.is_set():
            return self._judge_locally(checks)
        began = self._loop.time()
        try:
            verdicts, lost = await self._call(checks)
        except BucketsAwayError as error:
            self._give_up(str(error))
            return self._judge_locally(checks)
        metrics.LIMITER_CALLS.inc()
        metrics.LIMITER_SECONDS.observe(self._loop.time() - began)
        metrics.SHARED_CHECKS.inc(len(checks))
        if lost and not self._patience.bears(lost, began):
            self._give_up(f"too many answers took longer than {self._calm:g} s")
        return verdicts

    def _give_up(self, why: str) -> None:
        metrics.LIMITER_FAILURES.inc()
        metrics.LIMITER_LOCAL.set(1)
        logger.warning("local buckets stand in for Redis: %s", why)
        self._away.set()
        self._on_switch()

    async def _call(self, checks: list[Check]) -> tuple[list[Verdict], float]:
        """The verdicts, and the seconds beyond `calm` that they took; raises BucketsAwayError."""
        call = self._loop.create_task(self._shared.judge(checks))
        try:
            if await _ends(call, self._calm):
                return call.result(), 0.0
            calm_until = self._loop.time()
            if await _ends(call, self._timeout - self._calm):
                return call.result(), self._loop.time() - calm_until
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
                # An engine that connects but answers slowly is away as well.
                _, lost = await self._call([])
                if lost:
                    raise BucketsAwayError(f"an answer took longer than {self._calm:g} s")
            except BucketsAwayError as error:
                logger.info("Redis is still away: %s", error)
                await asyncio.sleep(self._retry)
            else:
                logger.info("the shared buckets are there")
                metrics.LIMITER_LOCAL.set(0)
                self._patience = Patience(self._timeout)
                self._away.clear()
                self._on_switch()


def _tell(waiting: Sequence[Waiting], verdicts: Sequence[Verdict]) -> None:
    for (_, future), verdict in zip(waiting, verdicts, strict=True):
        if not future.done():
            future.set_result(verdict)


async def _ends(call: "asyncio.Task[list[Verdict]]", timeout: float) -> bool:
    """Whether it is done within `timeout` seconds.

    An answer that is only late because this process had no turn is not late: the loop runs timers
    before it reads sockets, so it reads once more before a call counts as unanswered.
    """
    for patience in (timeout, _GRACE):
        await asyncio.wait((call,), timeout=patience)
        if call.done():
            return True
    return False
