"""The script against a real Redis: its invariants, and the same verdicts as the model in Python."""

import asyncio
import secrets
from collections.abc import Callable

import pytest
from argus_contract import redis_keys
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.registry import Bucket
from argus_ingest.adapters.redis_buckets import Call, RedisBuckets
from argus_ingest.buckets import KEY, NOBODY, Check, LocalBuckets, Verdict
from argus_ingest.limit import Limiter
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import RedisSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

MICROSECONDS = 1_000_000
HUNDRED = Bucket(100, 100)
FIFTY = Bucket(50, 100)


def new_tenant() -> TenantId:
    return TenantId(f"it.{secrets.token_hex(6)}")


def check(
    tenant: TenantId,
    cost: int = 1,
    key_limit: Bucket = HUNDRED,
    *,
    address: str | None = None,
    address_limit: Bucket = FIFTY,
    key: str = "k",
) -> Check:
    return Check(
        tenant,
        None if address is None else redis_keys.ip_bucket(tenant, address),
        address_limit,
        redis_keys.key_bucket(tenant, KeyHash(key)),
        key_limit,
        cost,
    )


async def clock(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * MICROSECONDS + int(micros)


whole = st.integers(1, 2_000)
requests = st.tuples(
    st.sampled_from([None, "a", "b"]), st.sampled_from(["k", "l"]), st.integers(1, 300)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.tuples(whole, whole, whole, whole),
    st.lists(st.lists(requests, min_size=1, max_size=30), min_size=1, max_size=8),
)
async def test_the_script_judges_as_the_model_does(
    redis_url: str,
    numbers: tuple[int, int, int, int],
    ticks: list[list[tuple[str | None, str, int]]],
) -> None:
    key_limit, address_limit = Bucket(numbers[0], numbers[1]), Bucket(numbers[2], numbers[3])
    tenant, model = new_tenant(), LocalBuckets(1_000, 1.0)
    script = RecordingBuckets(runtime_redis.connect(RedisSettings(url=redis_url)))
    await script.connect()
    try:
        for tick in ticks:
            checks = [
                check(
                    tenant,
                    min(cost, int(key_limit.burst)),
                    key_limit,
                    address=address,
                    address_limit=address_limit,
                    key=key,
                )
                for address, key, cost in tick
            ]
            verdicts = await script.judge(checks)
            assert verdicts == [model.judge(one, script.clocks[-1]) for one in checks]
    finally:
        await script.close()


class RecordingBuckets(RedisBuckets):
    """Remembers Redis's clock at each call."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.clocks: list[int] = []

    async def _evaluate(self, connection: object, call: Call) -> bytes:
        answer = await super()._evaluate(connection, call)  # type: ignore[arg-type]
        self.clocks.append(call.clock(answer))
        return answer


async def test_sixty_four_clients_get_burst_plus_rate_times_time_and_never_one_more(
    redis_url: str,
) -> None:
    """Through two processes' limiters, as with two replicas."""
    shared = [
        RecordingBuckets(runtime_redis.connect(RedisSettings(url=redis_url))) for _ in range(2)
    ]
    limiters = [
        Limiter(
            one, LocalBuckets(10, 1.0), timeout=5.0, calm=5.0, pace=0.0, retry=1.0, on_switch=list
        )
        for one in shared
    ]
    running = [asyncio.create_task(limiter.run()) for limiter in limiters]
    await until(lambda: not any(limiter.away for limiter in limiters))
    for one in shared:
        one.clocks.clear()
    # Far less than 64 clients ask for, on a busy machine too: what is measured is the bucket.
    limit, tenant = Bucket(400, 200), new_tenant()
    loop = asyncio.get_running_loop()
    end = loop.time() + 3.0

    async def client(limiter: Limiter) -> int:
        passed = 0
        while loop.time() < end:
            verdict = await limiter.check(check(tenant, 1, limit))
            passed += not verdict.refused
        return passed

    passed = sum(await asyncio.gather(*(client(limiters[n % 2]) for n in range(64))))
    assert not any(limiter.away for limiter in limiters)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for one in shared:
        await one.close()
    clocks = sorted(shared[0].clocks + shared[1].clocks)
    most = limit.burst + limit.rate * (clocks[-1] - clocks[0]) / MICROSECONDS
    assert 0.99 * most <= passed <= most


async def test_never_one_more_between_two_moments_of_redis(
    redis: Redis, buckets: RedisBuckets
) -> None:
    limit, tenant = Bucket(997, 50), new_tenant()
    before, passed = await clock(redis), 0
    for _ in range(400):
        verdicts = await buckets.judge([check(tenant, 1, limit) for _ in range(5)])
        passed += sum(not verdict.refused for verdict in verdicts)
        assert passed * MICROSECONDS <= limit.burst * MICROSECONDS + limit.rate * (
            await clock(redis) - before
        )


async def test_a_refusal_by_one_bucket_spends_from_neither(buckets: RedisBuckets) -> None:
    tenant = new_tenant()
    slow = Bucket(0.001, 10)
    first, second, third = await buckets.judge(
        [
            check(tenant, 8, slow, address="a", address_limit=slow),
            check(tenant, 3, slow, address="a", address_limit=slow),
            check(tenant, 2, slow, address="a", address_limit=slow),
        ]
    )
    assert first == Verdict(NOBODY, 0, 0, 9, 2)
    assert (second.refused, second.address_left, second.key_left) == (KEY, 9, 2)
    assert third == Verdict(NOBODY, 0, 0, 8, 0)


async def test_idle_buckets_expire_when_their_debt_is_gone(
    redis: Redis, buckets: RedisBuckets
) -> None:
    tenant = new_tenant()
    one = check(tenant, 10, Bucket(10, 100), address="a", address_limit=Bucket(1_000, 10))
    await buckets.judge([one])
    assert one.address_bucket is not None
    assert 500 <= await redis.pttl(one.key_bucket) <= 1_001
    assert await redis.pttl(one.address_bucket) <= 2
    await asyncio.sleep(1.1)
    assert await redis.exists(one.key_bucket, one.address_bucket) == 0
    assert await buckets.judge([one]) == [Verdict(NOBODY, 0, 0, 9, 90)]


async def test_a_refusal_writes_nothing(redis: Redis, buckets: RedisBuckets) -> None:
    tenant = new_tenant()
    one = check(tenant, 100, Bucket(0.01, 100))
    await buckets.judge([one])
    before = await redis.get(one.key_bucket)
    assert (await buckets.judge([one]))[0].refused == KEY
    assert await redis.get(one.key_bucket) == before


async def test_more_keys_than_luas_unpack_takes(buckets: RedisBuckets) -> None:
    tenant = new_tenant()
    checks = [check(tenant, 1, Bucket(1e6, 1e6), address=f"10.{n}") for n in range(10_000)]
    verdicts = await buckets.judge(checks)
    assert len(verdicts) == 10_000
    assert {verdict.refused for verdict in verdicts} == {NOBODY}


async def test_a_call_about_nothing_is_answered(buckets: RedisBuckets) -> None:
    assert await buckets.judge([]) == []


async def test_a_script_that_redis_forgot_is_loaded_again(
    redis: Redis, buckets: RedisBuckets
) -> None:
    await redis.script_flush()
    assert not (await buckets.judge([check(new_tenant())]))[0].refused


@pytest.mark.parametrize("stored", [b"nonsense", b"1e309 x", b""])
async def test_a_foreign_value_is_taken_for_a_full_bucket(
    redis: Redis, buckets: RedisBuckets, stored: bytes
) -> None:
    one = check(new_tenant(), 100, Bucket(1, 100))
    await redis.set(one.key_bucket, stored)
    assert (await buckets.judge([one]))[0].refused == NOBODY
    assert (await buckets.judge([one]))[0].refused == KEY


async def test_a_key_of_another_type_is_taken_for_a_full_bucket(
    redis: Redis, buckets: RedisBuckets
) -> None:
    one = check(new_tenant(), 100, Bucket(1, 100))
    await redis.rpush(one.key_bucket, "x")
    assert (await buckets.judge([one]))[0].refused == NOBODY


async def test_a_bucket_without_rate_never_refills(redis: Redis, buckets: RedisBuckets) -> None:
    one = check(new_tenant(), 1, Bucket(0, 1))
    first, second = await buckets.judge([one, one])
    assert (first.refused, second.refused, second.wait) == (NOBODY, KEY, 10**12)
    assert await redis.pttl(one.key_bucket) > 10**11


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  # nobody has an event to tell
            await asyncio.sleep(0.005)
