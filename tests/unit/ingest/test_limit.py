"""One call a tick, and local buckets while the shared ones are away."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from argus_contract.registry import Bucket
from argus_ingest.buckets import KEY, NOBODY, Check, LocalBuckets, Verdict
from argus_ingest.limit import Limiter, Patience
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingest.helpers import PLENTY, FakeBuckets

TIMEOUT = 0.05
ONE = Check("t", None, PLENTY, "k", PLENTY, 1)


async def until_back(limiter: Limiter) -> None:
    async with asyncio.timeout(1):
        while limiter.away:  # noqa: ASYNC110  # what is tested is that nobody has to tell
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(
    shared: FakeBuckets,
    *,
    share: float = 1.0,
    timeout: float = TIMEOUT,
    calm: float = TIMEOUT,
    pace: float = 0.0,
) -> AsyncIterator[Limiter]:
    limiter = Limiter(
        shared,
        LocalBuckets(100, share),
        timeout=timeout,
        calm=calm,
        pace=pace,
        retry=0.02,
        on_switch=list,
    )
    task = asyncio.create_task(limiter.run())
    if not shared.away:
        await until_back(limiter)
    try:
        yield limiter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_alone_a_check_waits_for_nobody_and_together_they_share_a_call() -> None:
    shared = FakeBuckets()
    async with running(shared) as limiter:
        await limiter.check(ONE)
        assert shared.calls == [1]
        shared.delay = 0.01
        await asyncio.gather(*(limiter.check(ONE) for _ in range(500)))
    assert sum(shared.calls) == 501
    assert len(shared.calls) == 2


async def test_calls_begin_a_pace_apart_and_the_first_waits_for_none() -> None:
    shared = FakeBuckets()
    async with running(shared, pace=0.1) as limiter:
        began = time.monotonic()
        await limiter.check(ONE)
        alone = time.monotonic() - began
        await asyncio.gather(*(limiter.check(ONE) for _ in range(20)), _later(limiter))
        together = time.monotonic() - began
    assert shared.calls == [1, 21]
    assert alone < 0.1 <= together


async def _later(limiter: Limiter) -> None:
    await asyncio.sleep(0.01)
    await limiter.check(ONE)


async def test_a_call_has_a_largest_size() -> None:
    shared = FakeBuckets()
    async with running(shared) as limiter:
        await asyncio.gather(*(limiter.check(ONE) for _ in range(5_000)))
    assert shared.calls == [2_048, 2_048, 904]


async def test_verdicts_are_given_in_the_order_of_arrival() -> None:
    shared = FakeBuckets()
    tight = ONE._replace(key_limit=Bucket(1, 10))
    async with running(shared) as limiter:
        verdicts = await asyncio.gather(*(limiter.check(tight) for _ in range(20)))
    assert [verdict.refused for verdict in verdicts] == [NOBODY] * 10 + [KEY] * 10


async def test_a_hanging_call_delays_nobody_longer_than_two_timeouts() -> None:
    shared = FakeBuckets()
    loop = asyncio.get_running_loop()
    async with running(shared) as limiter:
        shared.delay = 60
        began = loop.time()
        first = limiter.check(ONE)
        await asyncio.sleep(0.01)
        second = limiter.check(ONE)
        assert not (await first).refused
        assert not (await second).refused
        assert TIMEOUT <= loop.time() - began < 2 * TIMEOUT
        shared.away = True
        began = loop.time()
        assert not (await limiter.check(ONE)).refused
        assert loop.time() - began < 0.01


async def test_local_buckets_give_the_share_of_this_process() -> None:
    shared = FakeBuckets()
    shared.away = True
    tight = ONE._replace(key_limit=Bucket(1, 100))
    async with running(shared, share=1 / 4) as limiter:
        verdicts = [await limiter.check(tight) for _ in range(100)]
    assert sum(not verdict.refused for verdict in verdicts) == 25


async def test_it_returns_to_the_shared_buckets_by_itself() -> None:
    shared = FakeBuckets()
    async with running(shared) as limiter:
        shared.away = True
        await limiter.check(ONE)
        assert limiter.away
        calls = len(shared.calls)
        await asyncio.sleep(0.05)
        await limiter.check(ONE)
        assert len(shared.calls) == calls
        shared.away = False
        await until_back(limiter)
        await limiter.check(ONE)
        assert len(shared.calls) == calls + 1


async def test_a_redis_that_is_always_slow_is_away_before_it_has_cost_much() -> None:
    shared = FakeBuckets()
    loop = asyncio.get_running_loop()
    async with running(shared, timeout=0.5, calm=0.05) as limiter:
        shared.delay = 0.2
        began = loop.time()
        while not limiter.away:
            asked = loop.time()
            await limiter.check(ONE)
            assert loop.time() - asked < 1.0
        # 0.15 s of each call are too much, and 0.5 s of that are borne.
        assert len(shared.calls) <= 4
        assert loop.time() - began < 2.0
        asked = loop.time()
        await limiter.check(ONE)
        assert loop.time() - asked < 0.05
        # Still slow, so still away; then not.
        await asyncio.sleep(0.5)
        assert limiter.away
        shared.delay = 0.0
        await until_back(limiter)


async def test_a_slow_answer_now_and_then_is_borne() -> None:
    shared = FakeBuckets()
    async with running(shared, timeout=5.0, calm=0.05) as limiter:
        shared.delay = 0.1
        await limiter.check(ONE)
        shared.delay = 0.0
        for _ in range(20):
            await limiter.check(ONE)
        assert not limiter.away


async def test_a_busy_process_does_not_take_itself_for_a_slow_redis() -> None:
    shared = FakeBuckets()
    async with running(shared, timeout=0.2, calm=0.02) as limiter:
        for _ in range(10):
            waiting = limiter.check(ONE)
            await asyncio.sleep(0)
            time.sleep(0.05)  # noqa: ASYNC251  # the loop has no turn
            await waiting
        assert not limiter.away


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.2)), max_size=100))
def test_what_is_borne_is_bounded(calls: list[tuple[float, float]]) -> None:
    patience, now, total = Patience(0.1), 0.0, 0.0
    for pause, lost in calls:
        now += pause
        total += lost
        if not patience.bears(lost, now):
            break
        assert total <= 0.1 + 0.05 * now + 1e-9


def test_what_is_borne_is_forgiven() -> None:
    patience = Patience(0.1)
    assert patience.bears(0.1, 0.0)
    assert not patience.bears(0.1, 1.0)
    assert patience.bears(0.1, 10.0)


async def test_whoever_judges_from_now_on_is_announced() -> None:
    shared, switches = FakeBuckets(), []
    limiter = Limiter(
        shared,
        LocalBuckets(100, 1.0),
        timeout=TIMEOUT,
        calm=TIMEOUT,
        pace=0.0,
        retry=0.02,
        on_switch=lambda: switches.append(limiter.away),
    )
    task = asyncio.create_task(limiter.run())
    await until_back(limiter)
    shared.away = True
    await limiter.check(ONE)
    shared.away = False
    await until_back(limiter)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert switches == [False, True, False]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("waiting", [0, 3])
async def test_cancelled_it_ends_as_cancelled(away: bool, waiting: int) -> None:
    shared = FakeBuckets()
    shared.away = away
    limiter = Limiter(
        shared,
        LocalBuckets(100, 1.0),
        timeout=60.0,
        calm=60.0,
        pace=0.0,
        retry=60.0,
        on_switch=list,
    )
    task = asyncio.create_task(limiter.run())
    await asyncio.sleep(0.01)
    shared.delay = 60.0
    checks = [limiter.check(ONE) for _ in range(waiting)]
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(1):
            await task
    assert task.cancelled()
    for check in checks:
        assert not (await check).refused
    assert not (await limiter.check(ONE)).refused


async def test_a_defect_in_the_buckets_ends_the_limiter() -> None:
    class Broken(FakeBuckets):
        async def judge(self, checks: Sequence[Check]) -> list[Verdict]:
            return [] if not checks else [Verdict(1 // 0, 0, 0, 0, 0)]

    limiter = Limiter(
        Broken(), LocalBuckets(100, 1.0), timeout=1.0, calm=1.0, pace=0.0, retry=1.0, on_switch=list
    )
    task = asyncio.create_task(limiter.run())
    await until_back(limiter)
    waiting = limiter.check(ONE)
    with pytest.raises(ExceptionGroup) as ended:
        await task
    assert not (await waiting).refused
    assert ended.group_contains(ZeroDivisionError)


async def test_a_cancelled_check_leaves_the_others_alone() -> None:
    shared = FakeBuckets()
    shared.delay = 0.01
    async with running(shared) as limiter:
        checks = [limiter.check(ONE) for _ in range(3)]
        checks[1].cancel()
        assert not (await checks[0]).refused
        assert not (await checks[2]).refused
