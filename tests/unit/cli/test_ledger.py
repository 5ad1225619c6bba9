from dataclasses import replace

import pytest
from argus_cli.ledger import Summary, Totals, Verdict, judge, total
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.samples import FACTS, LINE


def test_a_log_read_to_its_end_and_accounted_for_is_balanced() -> None:
    assert LINE.records == 90
    assert LINE.settled == 90
    assert LINE.verdict is Verdict.BALANCED


def test_records_still_to_be_read_are_in_flight() -> None:
    line = replace(LINE, log_end=105)

    assert line.in_flight == 5
    assert line.verdict is Verdict.BEHIND


@pytest.mark.parametrize(
    "change",
    [
        {"stored": 79},
        {"duplicate": 8},
        {"dead_lettered": 4},
        {"skipped": 1},
        {"stored": 79, "lost": 1},
        {"log_end": 99},
    ],
)
def test_a_record_that_is_missing_or_counted_twice_is_unbalanced(change: dict[str, int]) -> None:
    line = replace(LINE, **change)  # type: ignore[arg-type]  # only counts are changed

    assert line.verdict is Verdict.UNBALANCED


def test_what_was_skipped_is_accounted_for() -> None:
    assert replace(LINE, stored=79, skipped=1).verdict is Verdict.BALANCED


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_balanced_means_that_the_terms_add_up_to_the_log(
    stored: int, duplicate: int, dead: int, beyond: int
) -> None:
    end = LINE.first_offset + stored + duplicate + dead
    line = replace(
        LINE,
        next_offset=end,
        log_end=end + beyond,
        stored=stored,
        duplicate=duplicate,
        dead_lettered=dead,
    )

    assert line.verdict is (Verdict.BEHIND if beyond else Verdict.BALANCED)


def test_the_worst_verdict_stands_for_all() -> None:
    assert judge([]) is Verdict.BALANCED
    assert judge([Verdict.BALANCED, Verdict.BEHIND]) is Verdict.BEHIND
    assert judge([Verdict.BEHIND, Verdict.UNBALANCED, Verdict.BALANCED]) is Verdict.UNBALANCED


def test_a_difference_of_totals_is_what_happened_in_between() -> None:
    later = replace(LINE, next_offset=104, log_end=110, stored=82, duplicate=8, dead_lettered=4)

    moved = total([later, LINE]) - total([LINE, LINE])

    assert moved == Totals(
        records=10, stored=2, duplicate=1, dead_lettered=1, skipped=0, lost=0, in_flight=6
    )
    assert moved.read == 4


def test_a_pipeline_is_unbalanced_where_a_partition_or_its_reasons_are() -> None:
    assert Summary([LINE, LINE], FACTS).verdict is Verdict.BALANCED
    assert Summary([LINE, replace(LINE, log_end=105)], FACTS).verdict is Verdict.BEHIND
    assert Summary([LINE, replace(LINE, lost=1)], FACTS).verdict is Verdict.UNBALANCED
    assert Summary([LINE], replace(FACTS, balanced=False)).verdict is Verdict.UNBALANCED
