"""Percentiles, windows and weights."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import stats

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted)


@given(values, st.floats(0.01, 1.0))
def test_at_least_that_share_is_not_above_a_percentile(
    ascending: list[float], share: float
) -> None:
    found = stats.percentile(ascending, share)
    assert found in ascending
    below = sum(value <= found for value in ascending)
    assert below >= math.ceil(share * len(ascending)) or math.isclose(below, share * len(ascending))


def test_the_99th_of_a_hundred_is_the_99th() -> None:
    assert stats.percentile([float(n) for n in range(1, 101)], 0.99) == 99


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.percentile([], 0.5)


def test_whole_ticks_are_summed_and_cut_ones_shared() -> None:
    assert stats.window([10, 20, 30, 40], 0.5, 0.5, 1.5) == pytest.approx(50)
    assert stats.window([10, 20, 30, 40], 0.5, 0.25, 0.75) == pytest.approx(15)


def test_beyond_the_ticks_there_is_nothing() -> None:
    assert stats.window([10], 0.5, 0.0, 9.0) == pytest.approx(10)
    assert stats.window([10], 0.5, 5.0, 9.0) == 0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.floats(0, 0.3), st.floats(0, 0.3))
def test_windows_side_by_side_add_up(counts: list[int], first: float, second: float) -> None:
    middle, end = first, first + second
    both = stats.window(counts, 0.01, 0, middle) + stats.window(counts, 0.01, middle, end)
    assert both == pytest.approx(stats.window(counts, 0.01, 0, end), abs=1e-6)


def test_zipf_falls_as_one_over_the_rank() -> None:
    weights = stats.zipf(200)
    assert sum(weights) == pytest.approx(1)
    assert weights[0] / weights[9] == pytest.approx(10)
