"""Conditions: merged without moving what did not change."""

from datetime import UTC, datetime, timedelta

from argus_operator import conditions
from argus_operator.conditions import READY, SYNCED, Finding
from argus_operator.errors import UnavailableError
from argus_operator.models.common import ConditionStatus

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
GOOD = conditions.good(READY, "Accepting", "all is well")
BAD = conditions.bad(READY, "KafkaUnavailable", "no broker")


def test_a_new_condition_begins_now() -> None:
    (made,) = conditions.merge((), [GOOD], 3, NOW)

    assert (made.last_transition_time, made.observed_generation) == (NOW, 3)


def test_the_time_stays_while_the_status_does() -> None:
    before = conditions.merge((), [BAD], 1, THEN)
    other = conditions.bad(READY, "DatabaseUnavailable", "no database")
    (made,) = conditions.merge(before, [other], 2, NOW)

    assert made.last_transition_time == THEN
    assert (made.reason, made.observed_generation) == ("DatabaseUnavailable", 2)


def test_the_time_moves_with_the_status() -> None:
    before = conditions.merge((), [BAD], 1, THEN)
    (made,) = conditions.merge(before, [GOOD], 1, NOW)

    assert made.last_transition_time == NOW


def test_what_is_not_found_again_goes() -> None:
    before = conditions.merge((), [GOOD, conditions.good(SYNCED, "Applied", "")], 1, THEN)

    assert [made.type for made in conditions.merge(before, [GOOD], 1, NOW)] == [READY]


def test_a_summary_says_what_the_first_bad_one_says() -> None:
    unknown = Finding(READY, ConditionStatus.UNKNOWN, "Pending", "not yet")

    assert conditions.summarise(SYNCED, [GOOD, BAD, unknown], "Applied", "fine") == conditions.bad(
        SYNCED, "KafkaUnavailable", "no broker"
    )
    assert conditions.summarise(SYNCED, [unknown], "Applied", "").status is ConditionStatus.UNKNOWN
    assert conditions.summarise(SYNCED, [GOOD], "Applied", "fine").good


def test_an_error_is_a_condition() -> None:
    error = UnavailableError("KafkaUnavailable", "no broker")

    assert conditions.failed(READY, error) == BAD


def test_changes_are_other_statuses_or_reasons_but_not_messages() -> None:
    before = conditions.merge((), [BAD], 1, THEN)
    reworded = conditions.merge(before, [conditions.bad(READY, BAD.reason, "other")], 1, NOW)
    flipped = conditions.merge(before, [GOOD], 1, NOW)

    assert conditions.changed(before, reworded) == []
    assert conditions.changed(before, flipped) == list(flipped)
    assert conditions.changed((), before) == list(before)
