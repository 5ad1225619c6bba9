from collections import Counter
from dataclasses import replace

import pytest
from argus_cli.ledger import Totals
from argus_cli.outcome import Outcome
from argus_cli.tally import Tally

TALLY = Tally(
    requests=10,
    accepted=12,
    repeated=2,
    rejected=Counter(invalid_event=3),
    accepted_ids={f"id-{number}" for number in range(10)},
)
OUTCOME = Outcome(
    tally=TALLY,
    moved=Totals(records=15, stored=10, duplicate=2, dead_lettered=3),
    rows=10,
    letters=3,
    live={"click": 10},
    received={"click": 10},
)


def failed(outcome: Outcome) -> list[str]:
    return [check.what for check in outcome.checks() if not check.holds]


def test_a_run_that_agrees_everywhere_holds() -> None:
    assert failed(OUTCOME) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rows": 9}, "accepted events that are rows, by id"),
        ({"letters": 2}, "events rejected = letters in the topic, by mark"),
        ({"letters": 4}, "events rejected = letters in the topic, by mark"),
        ({"live": {"click": 9}}, "click: rows = counted live"),
        ({"live": {"click": 9, "page_view": 1}}, "click: rows = counted live"),
        (
            {"moved": replace(OUTCOME.moved, records=14, stored=9)},
            "events acknowledged <= records in the log",
        ),
        (
            {"moved": replace(OUTCOME.moved, stored=9)},
            "records read = stored + duplicate + dead-lettered",
        ),
        (
            {"moved": replace(OUTCOME.moved, stored=11, duplicate=1)},
            "events sent twice, counted as duplicates",
        ),
        ({"moved": replace(OUTCOME.moved, lost=1)}, "skipped or lost"),
    ],
)
def test_each_disagreement_fails_its_check(change: dict[str, object], what: str) -> None:
    assert what in failed(replace(OUTCOME, **change))  # type: ignore[arg-type]  # one field


def test_other_senders_do_not_unbalance_a_run() -> None:
    moved = Totals(records=115, stored=100, duplicate=5, dead_lettered=10)

    outcome = replace(OUTCOME, moved=moved, live={"click": 99}, received={"click": 99})

    assert failed(outcome) == []
    assert any("100 more" in check.note for check in outcome.checks())


def test_what_was_in_flight_before_is_settled_by_others() -> None:
    moved = replace(OUTCOME.moved, stored=13, in_flight=-3)

    assert failed(replace(OUTCOME, moved=moved)) == []


def test_a_request_that_was_never_acknowledged_fails_the_run_and_says_why() -> None:
    tally = replace(TALLY, unacknowledged=Counter({"401 unknown key": 2}))
    outcome = replace(OUTCOME, tally=tally)

    assert failed(outcome) == ["requests acknowledged"]
    assert outcome.checks()[0].note == "2 x 401 unknown key"
