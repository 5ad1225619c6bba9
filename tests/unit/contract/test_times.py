"""Microseconds since the epoch convert exactly both ways."""

from datetime import UTC, datetime, timedelta, timezone

from argus_contract import times
from hypothesis import given
from hypothesis import strategies as st

moments = st.datetimes(timezones=st.just(UTC))


@given(moments)
def test_a_moment_survives_the_round_trip(moment: datetime) -> None:
    assert times.from_micros(times.to_micros(moment)) == moment


def test_the_offset_of_a_moment_does_not_matter() -> None:
    east = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert times.to_micros(east) == times.to_micros(datetime(2026, 1, 1, tzinfo=UTC))


def test_text_is_rfc3339_in_utc() -> None:
    assert times.rfc3339(1_767_225_600_000_001) == "2026-01-01T00:00:00.000001Z"
