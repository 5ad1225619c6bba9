"""Ratios of two benches."""

import pytest

from bench import comparison

THEN = {"ceiling.http": 10.0, "single.whole": 100.0, "single.ingest": 50.0, "batch.whole": 20.0}


def _ratio(now: dict[str, float], figure: str) -> comparison.Ratio:
    return next(one for one in comparison.compare(now, THEN) if one.figure == figure)


def test_the_same_figures_are_all_one() -> None:
    ratios = comparison.compare(THEN, THEN)
    assert [ratio.figure for ratio in ratios] == ["single.whole", "single.ingest", "batch.whole"]
    assert {ratio.judged for ratio in ratios} == {1.0}


def test_a_machine_half_as_fast_is_no_dearer_code() -> None:
    slower = {name: 2 * figure for name, figure in THEN.items()}
    ratio = _ratio(slower, "single.whole")
    assert ratio.plain == 2
    assert ratio.judged == pytest.approx(1)


def test_dearer_code_on_a_faster_machine_is_found() -> None:
    now = {**THEN, "ceiling.http": 5.0}
    dearer = comparison.worse(comparison.compare(now, THEN), 1.5)
    assert {ratio.figure for ratio in dearer} == {"single.whole", "single.ingest", "batch.whole"}


def test_without_the_unit_plain_ratios_count() -> None:
    now = {"single.whole": 150.0}
    ratio = _ratio(now, "single.whole")
    assert ratio.normalised is None
    assert ratio.judged == pytest.approx(1.5)


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ValueError, match="no cost"):
        comparison.compare({"ceiling.http": 1.0}, THEN)
