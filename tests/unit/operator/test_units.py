"""Durations and sizes as people write them."""

import re

import pytest
from argus_operator.models import units
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("written", "seconds"), [("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("1d", 86_400)]
)
def test_durations(written: str, seconds: int) -> None:
    assert units.seconds(written) == seconds


@pytest.mark.parametrize(
    ("written", "count"),
    [("1Gi", 1 << 30), ("128Mi", 1 << 27), ("4096", 4096), (4096, 4096), ("2Ti", 1 << 41)],
)
def test_sizes(written: int | str, count: int) -> None:
    assert units.size(written) == count


@pytest.mark.parametrize("written", ["", "h", "5", "5s", "1w", "-1d", "1.5h"])
def test_what_is_no_duration(written: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(written))):
        units.seconds(written)


@pytest.mark.parametrize("written", ["", "Gi", "1G", "1.5Gi", "-1"])
def test_what_is_no_size(written: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(written))):
        units.size(written)


@given(st.from_regex(units.DURATION, fullmatch=True))
def test_every_duration_of_the_pattern_is_understood(written: str) -> None:
    assert units.seconds(written) > 0


@given(st.from_regex(units.SIZE, fullmatch=True))
def test_every_size_of_the_pattern_is_understood(written: str) -> None:
    assert units.size(written) > 0


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1 MiB"), (3 << 29, "1.5 GiB"), (1 << 40, "1 TiB")],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert units.in_words(count) == words
