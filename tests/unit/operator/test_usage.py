"""What a status shows of a tenant's use."""

from datetime import UTC, datetime
from typing import Any

import pytest
from argus_contract.keys import HASH_PREFIX, KeyHash
from argus_contract.names import TenantId
from argus_contract.quotas import Usage, day_of, month_of
from argus_contract.registry import Bucket, Limits
from argus_contract.times import to_micros
from argus_operator import usage
from argus_operator.models.tenant import KeyStatus, PreviousKey, QuotaStatus, QuotaUse
from argus_operator.usage import Reading, Use
from hypothesis import given
from hypothesis import strategies as st

TENANT = TenantId("shops.shop.1")
NOW = datetime(2026, 12, 31, 18, 30, tzinfo=UTC)
MICROS = to_micros(NOW)
DAY, MONTH = day_of(MICROS), month_of(MICROS)
TOMORROW = datetime(2027, 1, 1, tzinfo=UTC)
HASH = KeyHash("ab" * 32)
HOUR = datetime(2026, 12, 31, 17, tzinfo=UTC)


def limits(**fields: Any) -> Limits:
    return Limits(Bucket(1, 1), Bucket(1, 1), **fields)


def reading(counted: Usage | None = None, minute: int | None = None) -> Reading:
    used = {} if minute is None else {TENANT: {HASH: minute}}
    return Reading(MICROS, {} if counted is None else {TENANT: counted}, used)


def percents(counted: Usage, **fields: Any) -> list[int | None]:
    found = usage.use(reading(counted), TENANT, limits(**fields)).quota
    assert found is not None
    spans = (found.daily, found.monthly)
    return [None if one is None else one.used_percent for one in spans]


class TestQuota:
    def test_it_says_how_much_of_each_is_used_and_until_when(self) -> None:
        found = usage.use(
            reading(Usage(DAY, 6_000, MONTH, 70_000)), TENANT, limits(daily=10_000, monthly=70_000)
        )

        assert found.quota == QuotaStatus(
            daily=QuotaUse(limit=10_000, used_percent=60, resets_at=TOMORROW),
            monthly=QuotaUse(limit=70_000, used_percent=100, resets_at=TOMORROW),
        )

    def test_without_a_quota_there_is_none(self) -> None:
        assert usage.use(reading(Usage(DAY, 1, MONTH, 1)), TENANT, limits()).quota is None

    def test_one_of_the_two_may_be_without(self) -> None:
        assert percents(Usage(DAY, 5_000, MONTH, 5_000), monthly=10_000) == [None, 50]

    def test_of_a_day_that_is_over_nothing_counts(self) -> None:
        yesterday = Usage(DAY - 1, 10_000, MONTH, 10_000)
        assert percents(yesterday, daily=10_000, monthly=20_000) == [0, 50]

    def test_of_what_redis_does_not_have_nothing_was_used(self) -> None:
        found = usage.use(reading(), TENANT, limits(daily=10_000))
        assert found.quota is not None
        assert found.quota.daily == QuotaUse(limit=10_000, used_percent=0, resets_at=TOMORROW)

    @given(st.integers(5_000, 10**12), st.integers(0, 2 * 10**12))
    def test_a_percentage_is_a_step_and_100_only_where_nothing_is_left(
        self, limit: int, used: int
    ) -> None:
        [percent, _] = percents(Usage(DAY, used, MONTH, used), daily=limit)

        assert percent is not None
        assert percent in range(0, 101, 5)
        assert (percent == 100) == (used >= limit)
        if used < limit:
            assert percent <= 100 * used / limit < percent + 5


class TestFall:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (Usage(DAY, 5, MONTH, 9), False),
            (Usage(DAY, 6, MONTH, 10), False),
            (Usage(DAY + 1, 0, MONTH, 9), False),
            (Usage(DAY + 1, 0, MONTH + 1, 0), False),
            (Usage(DAY, 4, MONTH, 9), True),
            (Usage(DAY + 1, 0, MONTH, 8), True),
            (Usage(DAY - 1, 9, MONTH, 9), True),
        ],
    )
    def test_a_count_that_is_lower_within_its_day_or_month_was_lost(
        self, now: Usage, expected: bool
    ) -> None:
        assert usage.fell(Usage(DAY, 5, MONTH, 9), now) is expected


class TestLastUse:
    def test_it_is_told_in_whole_hours(self) -> None:
        minute = int(HOUR.timestamp()) // 60
        for late in (0, 59):
            found = usage.use(reading(minute=minute + late), TENANT, limits())
            assert found.last_used == {HASH[:HASH_PREFIX]: HOUR}

    def test_what_was_shown_is_not_forgotten(self) -> None:
        earlier, later = HOUR, HOUR.replace(hour=18)
        shown = Use(None, {"a": later, "b": earlier, "c": earlier})
        known = Use(None, {"a": earlier, "b": later, "d": later})

        expected = {"a": later, "b": later, "c": earlier, "d": later}
        assert usage.merged(shown, known).last_used == expected
        assert usage.merged(shown, None) is shown

    def test_a_key_and_the_one_in_its_grace_have_each_their_own(self) -> None:
        previous = PreviousKey(id="k.b", hash_prefix="b", created=HOUR, valid_until=HOUR)
        keys = [
            KeyStatus(
                id="k.a", name="k", kind="server", hash_prefix="a", created=HOUR, previous=previous
            ),
            KeyStatus(id="l.c", name="l", kind="server", hash_prefix="c", created=HOUR),
        ]
        one, other = usage.dated(keys, Use(None, {"a": HOUR, "b": TOMORROW}))

        assert one.last_used == HOUR
        assert one.previous is not None
        assert one.previous.last_used == TOMORROW
        assert other.last_used is None


class TestTold:
    def test_a_status_is_read_as_it_was_written(self) -> None:
        found = usage.use(
            reading(Usage(DAY, 6_000, MONTH, 7_000), int(HOUR.timestamp()) // 60),
            TENANT,
            limits(daily=10_000, monthly=20_000),
        )
        assert found.quota is not None
        bare = KeyStatus(name="k", kind="server", hash_prefix=HASH[:HASH_PREFIX], created=HOUR)
        [key] = usage.dated([bare], found)
        status = {
            "quota": found.quota.model_dump(mode="json", by_alias=True, exclude_none=True),
            "keys": [key.model_dump(mode="json", by_alias=True, exclude_none=True)],
        }

        assert usage.told(status) == found

    @pytest.mark.parametrize(
        "status", [{}, {"quota": 7}, {"keys": [{"name": 1}]}, {"quota": {"daily": {"limit": "x"}}}]
    )
    def test_what_is_not_there_or_spoilt_tells_nothing(self, status: dict[str, Any]) -> None:
        assert usage.told(status) == Use(None, {})


class TestExceeded:
    def test_the_one_that_lasts_longest_is_named(self) -> None:
        later = datetime(2027, 2, 1, tzinfo=UTC)
        daily = QuotaUse(limit=10_000, used_percent=100, resets_at=TOMORROW)
        monthly = QuotaUse(limit=70_000, used_percent=100, resets_at=later)
        message = usage.exceeded(QuotaStatus(daily=daily, monthly=monthly))

        assert message is not None
        assert "monthly quota of 70,000 events" in message
        assert "2027-02-01T00:00:00Z" in message
        assert "spec.rateLimit.quota.monthly" in message

    def test_something_left_is_no_matter(self) -> None:
        most = QuotaUse(limit=10_000, used_percent=95, resets_at=TOMORROW)
        assert usage.exceeded(QuotaStatus(daily=most)) is None
        assert usage.exceeded(None) is None
