"""Our ids are UUIDv7s as RFC 9562 has them, and their time can be read back."""

import re
from itertools import islice
from uuid import UUID

import pytest
from argus_contract import ids
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(min_value=0, max_value=(1 << 48) * 1000 - 1))
def test_a_new_id_is_a_version_7_uuid_of_its_millisecond(now_us: int) -> None:
    text = ids.new_id(now_us)
    parsed = UUID(text)
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")
    assert str(parsed) == text
    assert ids.time_of(text) == now_us // 1000 * 1000


@given(st.uuids(version=4))
def test_another_version_has_no_time(uuid: UUID) -> None:
    assert ids.time_of(str(uuid)) is None


@given(st.text(max_size=40))
def test_what_is_called_a_uuid_parses_as_one(text: str) -> None:
    if ids.is_uuid(text):
        UUID(text)


@pytest.mark.parametrize("text", ["", "x", "0" * 32, "{" + "0" * 34 + "}", "0" * 36])
def test_other_spellings_are_no_uuids(text: str) -> None:
    assert not ids.is_uuid(text)


def test_many_ids_of_one_moment_are_distinct_ascend_and_are_of_version_7() -> None:
    now_us = 1_800_000_000_123_000
    made = [*islice(ids.new_ids(now_us), 5_000)]
    assert made == sorted(set(made))
    assert {UUID(text).version for text in made} == {7}
    assert {ids.time_of(text) for text in made} == {now_us}
    assert made[0] != next(ids.new_ids(now_us))


@given(
    st.from_regex(ids.UUID_PATTERN)
    | st.text("09afAFgG-\n?\u0661\ud800", min_size=35, max_size=37)
    | st.text(max_size=40)
)
def test_a_uuid_is_what_the_pattern_says(text: str) -> None:
    assert ids.is_uuid(text) == (re.fullmatch(ids.UUID_PATTERN, text) is not None)
