"""The script's quotas against a real Redis: the model's verdicts, its calendar, and its floors."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pytest
from argus_contract import quotas, redis_keys
from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_contract.registry import Bucket
from argus_contract.times import SECOND, to_micros
from argus_ingest.adapters.redis_buckets import Call, RedisBuckets
from argus_ingest.buckets import DAY, KEY, MONTH, NOBODY, Check, Quota, Verdict
from argus_runtime import assets
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import RedisSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tests.integration.ingest.test_token_bucket import check, clock, new_tenant
from tests.unit.ingest.helpers import ScriptModel

SCRIPT: Final = assets.path("lua", "token_bucket.lua").read_text()
RELEASED: Final = Path(__file__).with_name("token_bucket_0.1.0.lua").read_text()
"""What pods of the first release load, and run beside ours while an upgrade is under way."""
CLOCK: Final = "redis.call('TIME')"
PLENTY: Final = Bucket(1e6, 1e6)


def quota(tenant: TenantId, daily: int = 0, monthly: int = 0) -> Quota:
    return Quota(redis_keys.usage(tenant), daily, monthly)


def within(
    of: Quota, tenant: TenantId, cost: int, key_limit: Bucket = PLENTY, key: str = "k"
) -> Check:
    return check(tenant, cost, key_limit, key=key)._replace(quota=of)


async def usage(redis: Redis, of: Quota) -> Usage | None:
    stored = await redis.get(of.usage)
    return quotas.parse(stored) if isinstance(stored, bytes) else None


async def judge_at(redis: Redis, checks: Sequence[Check], now: int) -> list[Verdict]:
    """By the script with a clock of the test's own, in microseconds since the epoch."""
    assert SCRIPT.count(CLOCK) == 1
    script = SCRIPT.replace(CLOCK, "{ tonumber(ARGV[2]), tonumber(ARGV[3]) }")
    call = Call(checks)
    moment = divmod(now, SECOND)
    answer = await redis.eval(script, len(call.keys), *call.keys, call.argument, *moment)
    assert call.clock(answer) == now
    return call.verdicts(answer)


MONTH_STARTS = st.builds(
    lambda year, month: to_micros(datetime(year, month, 1, tzinfo=UTC)),
    st.sampled_from([1999, 2000, 2023, 2024, 2026, 2099, 2100, 2101]),
    st.integers(1, 12),
)
"""Among them leap years, and 2100, which is none."""
STEPS = st.one_of(
    st.integers(0, 3 * quotas.DAY),
    st.integers(-2 * SECOND, 2 * SECOND),
    st.integers(-quotas.DAY, 0),
    st.sampled_from([0, 1, quotas.DAY, 31 * quotas.DAY, 400 * quotas.DAY]),
)
REQUESTS = st.tuples(st.integers(1, 400), st.sampled_from(["k", "l"]), st.booleans())


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    MONTH_STARTS,
    st.tuples(st.sampled_from([0, 1, 300, 1_000]), st.sampled_from([0, 1, 500, 3_000])),
    st.integers(400, 2_000),
    st.lists(st.tuples(STEPS, st.lists(REQUESTS, min_size=1, max_size=6)), min_size=1, max_size=12),
)
async def test_the_script_judges_as_the_model_does_across_days_and_months(
    redis_url: str,
    month_start: int,
    limits: tuple[int, int],
    burst: int,
    ticks: list[tuple[int, list[tuple[int, str, bool]]]],
) -> None:
    tenant, model = new_tenant(), ScriptModel()
    of, now = quota(tenant, *limits), month_start - quotas.DAY
    redis = runtime_redis.connect(RedisSettings(url=redis_url))
    try:
        for step, requests in ticks:
            now += step
            # Buckets that never refill: how they do is another test's business.
            checks = [
                within(of, tenant, cost, Bucket(0, burst), key)._replace(
                    quota=of if limited else None
                )
                for cost, key, limited in requests
            ]
            before = model.usage(of, now)
            assert await judge_at(redis, checks, now) == [model.judge(one, now) for one in checks]
            after = model.usage(of, now)
            assert after.daily >= before.daily
            assert after.monthly >= before.monthly
            for limit, used in ((of.daily, after.daily), (of.monthly, after.monthly)):
                assert not limit or used <= limit
            assert await usage(redis, of) == model.usages.get(of.usage)
    finally:
        await redis.aclose()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, to_micros(datetime(2250, 1, 1, tzinfo=UTC))))
async def test_the_script_s_calendar_is_the_contract_s(redis_url: str, now: int) -> None:
    tenant = new_tenant()
    of = quota(tenant, 1, 1)
    redis = runtime_redis.connect(RedisSettings(url=redis_url))
    try:
        passed, refused = await judge_at(redis, [within(of, tenant, 1)] * 2, now)
        assert passed.refused == NOBODY
        ends = quotas.month_ends(quotas.month_of(now))
        assert refused == Verdict(DAY | MONTH, ends - now, ends - now, 0, 0)
        assert await usage(redis, of) == Usage(quotas.day_of(now), 1, quotas.month_of(now), 1)
        # It is there until its month is over everywhere, and not for long after that.
        life = await redis.pttl(of.usage) * 1_000
        assert ends - now + quotas.DAY - 10 * SECOND < life <= ends - now + quotas.DAY + SECOND
    finally:
        await redis.aclose()


async def test_more_events_than_are_left_are_refused_whole_and_fewer_pass(
    redis: Redis, buckets: RedisBuckets
) -> None:
    tenant = new_tenant()
    of = quota(tenant, daily=10)
    verdicts = await buckets.judge([within(of, tenant, cost) for cost in (7, 4, 3, 1)])
    assert [v.refused for v in verdicts] == [NOBODY, DAY, NOBODY, DAY]
    assert [v.key_left for v in verdicts[1::2]] == [3, 0]
    assert verdicts[1].empty == 0
    assert 0 < verdicts[3].empty == verdicts[3].wait <= quotas.DAY
    found = await usage(redis, of)
    assert found is not None
    assert (found.daily, found.monthly) == (10, 10)


async def test_what_a_bucket_refuses_spends_no_quota_and_what_a_quota_refuses_no_token(
    redis: Redis, buckets: RedisBuckets
) -> None:
    tenant = new_tenant()
    of, tight = quota(tenant, monthly=10), Bucket(0.001, 8)
    costs = (6, 5, 2, 4)
    verdicts = await buckets.judge([within(of, tenant, cost, tight) for cost in costs])
    assert [v.refused for v in verdicts] == [NOBODY, MONTH, NOBODY, MONTH]
    other = await buckets.judge([within(of, tenant, 2, tight), within(of, tenant, 1, PLENTY, "l")])
    assert [v.refused for v in other] == [KEY, NOBODY]
    found = await usage(redis, of)
    assert found is not None
    assert found.monthly == 9


async def test_each_tenant_has_its_own_and_one_without_is_not_counted(
    redis: Redis, buckets: RedisBuckets
) -> None:
    first, second, free = new_tenant(), new_tenant(), new_tenant()
    one, two = quota(first, daily=5), quota(second, monthly=7)
    verdicts = await buckets.judge(
        [
            within(one, first, 5),
            check(free, 100),
            within(two, second, 6),
            within(one, first, 1),
            within(two, second, 2),
        ]
    )
    assert [v.refused for v in verdicts] == [NOBODY, NOBODY, NOBODY, DAY, MONTH]
    assert await redis.exists(redis_keys.usage(free)) == 0


async def test_a_refusal_writes_nothing(redis: Redis, buckets: RedisBuckets) -> None:
    tenant = new_tenant()
    one = within(quota(tenant, daily=5), tenant, 6)
    assert (await buckets.judge([one]))[0].refused == DAY
    assert await redis.keys(f"{{{tenant}}}:*") == []


@pytest.mark.parametrize("stored", [b"nonsense", b"", b"99999999 5 99999999 5", b"-1 5 -1 5"])
async def test_a_foreign_value_is_taken_for_no_usage(
    redis: Redis, buckets: RedisBuckets, stored: bytes
) -> None:
    tenant = new_tenant()
    of = quota(tenant, daily=5, monthly=5)
    await redis.set(of.usage, stored)
    verdicts = await buckets.judge([within(of, tenant, 5), within(of, tenant, 1)])
    assert [v.refused for v in verdicts] == [NOBODY, DAY | MONTH]


async def raise_to(redis: Redis, of: Quota, floor: Usage) -> None:
    answer = await redis.eval(SCRIPT, 1, of.usage, quotas.raising(floor))
    assert msgspec.msgpack.decode(answer)[1] == []


async def test_a_floor_raises_what_is_lost_and_lowers_nothing(
    redis: Redis, buckets: RedisBuckets
) -> None:
    tenant = new_tenant()
    of = quota(tenant, daily=1_000, monthly=2_000)
    here = Usage.none(await clock(redis))
    await raise_to(redis, of, here._replace(daily=400, monthly=900))
    assert await usage(redis, of) == here._replace(daily=400, monthly=900)
    await buckets.judge([within(of, tenant, 100)])
    await raise_to(redis, of, here._replace(daily=450, monthly=1_500))
    assert await usage(redis, of) == here._replace(daily=500, monthly=1_500)
    assert await redis.pttl(of.usage) > 0
    # More than the quota has passed, as while Redis was away: nothing is left, and not less.
    await raise_to(redis, of, here._replace(daily=5_000, monthly=5_000))
    (refused,) = await buckets.judge([within(of, tenant, 1)])
    assert (refused.refused, refused.key_left) == (DAY | MONTH, 0)


async def test_a_floor_of_another_day_or_month_is_not_this_one_s(redis: Redis) -> None:
    tenant = new_tenant()
    of = quota(tenant, daily=1)
    here = Usage.none(await clock(redis))
    for off in (-1, 1):
        await raise_to(redis, of, Usage(here.day + off, 7, here.month, 9))
        assert await usage(redis, of) == here._replace(monthly=9)
        await raise_to(redis, of, Usage(here.day, 0, here.month + off, 11))
        assert await usage(redis, of) == here._replace(monthly=9)


async def test_pods_of_the_first_release_spend_from_the_same_buckets(
    redis: Redis, buckets: RedisBuckets
) -> None:
    tenant = new_tenant()
    of, slow = quota(tenant, daily=1_000), Bucket(0.001, 100)
    one = within(of, tenant, 30, slow)

    async def released(cost: int) -> int:
        argument = msgspec.msgpack.encode(((slow.rate,), (slow.burst,), (0, 1, cost)))
        answer = await redis.eval(RELEASED, 1, one.key_bucket, argument)
        refused, _, _, left = msgspec.msgpack.decode(answer)[1]
        assert refused == NOBODY
        return int(left)

    assert await released(40) == 60
    assert (await buckets.judge([one]))[0].key_left == 30
    assert await released(25) == 5
    assert (await buckets.judge([one]))[0].refused == KEY
    found = await usage(redis, of)
    assert found is not None
    assert found.daily == 30
