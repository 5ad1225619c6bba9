"""One call a tick, and local buckets while the shared ones are away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argus_contract.registry import Bucket
from argus_ingest.buckets import KEY, NOBODY, Check, LocalBuckets
from argus_ingest.limit import Limiter

from tests.unit.ingest.helpers import PLENTY, FakeBuckets

TIMEOUT = 0.05
CALM = 0.02
ONE = Check("t", None, PLENTY, "k", PLENTY, 1)


async def until_back(limiter: Limiter) -> None:
    async with asyncio.timeout(1):
        while limiter.away:  # noqa: ASYNC110  # what is tested is that nobody has to tell
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(shared: FakeBuckets, share: float = 1.0) -> AsyncIterator[Limiter]:
    limiter = Limiter(
        shared, LocalBuckets(100, share), timeout=TIMEOUT, calm=CALM, retry=0.02, on_switch=list
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


async def test_a_cancelled_check_leaves_the_others_alone() -> None:
    shared = FakeBuckets()
    shared.delay = 0.01
    async with running(shared) as limiter:
        checks = [limiter.check(ONE) for _ in range(3)]
        checks[1].cancel()
        assert not (await checks[0]).refused
        assert not (await checks[2]).refused
