from dataclasses import replace
from datetime import timedelta

import pytest
from argus_cli.audit import Books
from argus_cli.ledger import Verdict

from tests.unit.cli.samples import BOOKS, KEYS, LETTERS, LINE, MINUTE_AGO, NOW, RECORDED, recorded


def failed(books: Books) -> list[str]:
    return [check.what for check in books.checks() if not check.holds]


def test_books_that_agree_are_balanced() -> None:
    assert failed(BOOKS) == []
    assert BOOKS.verdict is Verdict.BALANCED


def test_books_that_agree_are_in_flight_while_the_log_is_read() -> None:
    assert replace(BOOKS, lines=(replace(LINE, log_end=101),)).verdict is Verdict.BEHIND


@pytest.mark.parametrize("rows", [59, 61])
def test_a_row_removed_or_added_by_hand_is_unbalanced(rows: int) -> None:
    books = replace(BOOKS, rows=rows)

    assert failed(books) == ["rows in the table = stored - expired"]
    assert books.verdict is Verdict.UNBALANCED


def test_a_letter_removed_from_the_topic_is_unbalanced_and_named() -> None:
    books = replace(BOOKS, letters=dict.fromkeys(KEYS[1:], MINUTE_AGO))

    assert failed(books) == ["letters in the topic = recorded, within retention"]
    assert any(KEYS[0] in check.note for check in books.checks())
    assert books.verdict is Verdict.UNBALANCED


def test_a_record_of_a_letter_removed_from_sql_is_unbalanced() -> None:
    books = replace(BOOKS, recorded={key: recorded(key) for key in KEYS[1:]})

    assert failed(books) == [
        "dead letters recorded = dead-lettered - expired",
        "letters in the topic without a record",
    ]
    assert books.verdict is Verdict.UNBALANCED


def test_a_letter_past_its_retention_may_be_gone_from_the_topic() -> None:
    old = NOW - timedelta(hours=2)
    books = replace(
        BOOKS,
        recorded=RECORDED | {KEYS[0]: recorded(KEYS[0], old)},
        letters=dict.fromkeys(KEYS[1:], MINUTE_AGO),
    )

    assert failed(books) == []


def test_a_letter_past_its_retention_may_linger_in_the_topic_after_sql_forgot_it() -> None:
    old = NOW - timedelta(hours=2)
    books = replace(
        BOOKS,
        letters_expired=1,
        recorded={key: recorded(key) for key in KEYS[1:]},
        letters=LETTERS | {KEYS[0]: old},
    )

    assert failed(books) == []


def test_letters_without_retention_are_never_excused() -> None:
    old = NOW - timedelta(days=4_000)
    books = replace(
        BOOKS,
        letter_retention=None,
        recorded=RECORDED | {KEYS[0]: recorded(KEYS[0], old)},
        letters=dict.fromkeys(KEYS[1:], MINUTE_AGO),
    )

    assert failed(books) == ["letters in the topic = recorded, within retention"]


def test_a_letter_whose_source_is_being_settled_needs_no_record_yet() -> None:
    ahead = f"{LINE.topic}/0/{LINE.next_offset}"
    books = replace(BOOKS, letters=LETTERS | {ahead: MINUTE_AGO})

    assert failed(books) == []


@pytest.mark.parametrize("key", ["", "foreign", f"{LINE.topic}/0/99", f"{LINE.topic}/x/1"])
def test_a_letter_that_nobody_recorded_is_unbalanced(key: str) -> None:
    books = replace(BOOKS, letters=LETTERS | {key: MINUTE_AGO})

    assert failed(books) == ["letters in the topic without a record"]
