"""Days and months of UTC, and the string that Redis keeps of a tenant's usage."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from argus_contract import quotas
from argus_contract.quotas import Usage
from argus_contract.times import to_micros
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.datetimes(
    datetime(1970, 1, 1),  # Hypothesis adds the zone
    datetime(9998, 12, 31),
    timezones=st.just(UTC),
)
COUNTS = st.integers(0, 2**53)
PERIODS = st.integers(0, 10**6)
USAGES = st.builds(Usage, PERIODS, COUNTS, PERIODS, COUNTS)


@given(MOMENTS)
def test_a_day_ends_at_the_next_midnight(moment: datetime) -> None:
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)
    assert quotas.day_ends(quotas.day_of(to_micros(moment))) == to_micros(midnight)


@given(MOMENTS)
def test_a_month_ends_with_the_first_of_the_next(moment: datetime) -> None:
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    first = datetime(year, month, 1, tzinfo=UTC)
    assert quotas.month_ends(quotas.month_of(to_micros(moment))) == to_micros(first)


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("2024-02-29", "2024-03-01"),
        ("2023-02-28", "2023-03-01"),
        ("2000-02-29", "2000-03-01"),
        ("2100-02-28", "2100-03-01"),
        ("2024-12-31", "2025-01-01"),
    ],
)
def test_leap_years_are_known(last: str, first: str) -> None:
    month = quotas.month_of(to_micros(datetime.fromisoformat(last).replace(tzinfo=UTC)))
    assert quotas.month_ends(month) == to_micros(datetime.fromisoformat(first).replace(tzinfo=UTC))


@given(MOMENTS)
def test_the_last_moment_of_a_period_is_in_it_and_the_next_is_not(moment: datetime) -> None:
    now = to_micros(moment)
    day, month = quotas.day_of(now), quotas.month_of(now)
    assert quotas.day_of(quotas.day_ends(day) - 1) == day
    assert quotas.day_of(quotas.day_ends(day)) == day + 1
    assert quotas.month_of(quotas.month_ends(month) - 1) == month
    assert quotas.month_of(quotas.month_ends(month)) == month + 1


@given(USAGES)
def test_what_is_written_is_read(usage: Usage) -> None:
    assert quotas.parse(quotas.render(usage)) == usage


@given(st.binary(max_size=80))
def test_what_is_no_such_string_is_no_usage(text: bytes) -> None:
    found = quotas.parse(text)
    assert found is None or len(quotas.render(found)) <= len(text)


@given(MOMENTS, COUNTS, COUNTS)
def test_a_period_that_is_over_counts_for_nothing(
    moment: datetime, daily: int, monthly: int
) -> None:
    now = to_micros(moment)
    used = Usage(quotas.day_of(now), daily, quotas.month_of(now), monthly)
    assert used.at(now) == used
    tomorrow = used.at(quotas.day_ends(used.day))
    assert tomorrow.daily == 0
    assert tomorrow.monthly == (monthly if tomorrow.month == used.month else 0)
    assert used.at(quotas.month_ends(used.month)) == Usage.none(quotas.month_ends(used.month))


@given(MOMENTS, COUNTS, COUNTS)
def test_a_clock_that_goes_back_gives_nothing_back(
    moment: datetime, daily: int, monthly: int
) -> None:
    now = to_micros(moment)
    ahead = Usage(quotas.day_of(now) + 1, daily, quotas.month_of(now) + 1, monthly)
    assert ahead.at(now) == ahead
    assert ahead._replace(day=ahead.day + 1, month=ahead.month + 1).at(now) == Usage.none(now)


@given(USAGES, USAGES)
def test_a_floor_raises_the_same_period_alone_and_lowers_nothing(used: Usage, floor: Usage) -> None:
    raised = used.raised(floor)
    assert (raised.day, raised.month) == (used.day, used.month)
    assert raised.daily == (max(used.daily, floor.daily) if floor.day == used.day else used.daily)
    assert raised.monthly >= used.monthly
    assert raised.raised(floor) == raised


def test_a_floor_is_told_to_the_script_beside_no_checks() -> None:
    told = msgspec.msgpack.decode(quotas.raising(Usage(20_000, 5, 24_000, 7)))
    assert told == [[], [], [], [0, 0], [20_000, 5, 24_000, 7]]
