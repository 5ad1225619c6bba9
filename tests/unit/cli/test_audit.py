from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from argus_cli.audit import Books, Written
from argus_cli.ledger import Verdict

from tests.unit.cli.samples import (
    BOOKS,
    KEYS,
    LETTERS,
    LINE,
    MINUTE_AGO,
    NOW,
    RECORDED,
    identity,
    recorded,
    written,
)


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
    books = replace(BOOKS, letters=written(*KEYS[1:]))

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
        letters=written(*KEYS[1:]),
    )

    assert failed(books) == []


def test_a_letter_past_its_retention_may_linger_in_the_topic_after_sql_forgot_it() -> None:
    old = NOW - timedelta(hours=2)
    books = replace(
        BOOKS,
        letters_expired=1,
        recorded={key: recorded(key) for key in KEYS[1:]},
        letters=LETTERS | {KEYS[0]: Written(old, None)},
    )

    assert failed(books) == []


def test_letters_without_retention_are_never_excused() -> None:
    old = NOW - timedelta(days=4_000)
    books = replace(
        BOOKS,
        letter_retention=None,
        recorded=RECORDED | {KEYS[0]: recorded(KEYS[0], old)},
        letters=written(*KEYS[1:]),
    )

    assert failed(books) == ["letters in the topic = recorded, within retention"]


def test_a_letter_whose_source_is_being_settled_needs_no_record_yet() -> None:
    ahead = f"{LINE.topic}/0/{LINE.next_offset}"
    books = replace(BOOKS, letters=LETTERS | {ahead: Written(MINUTE_AGO, None)})

    assert failed(books) == []


@pytest.mark.parametrize("key", ["", "foreign", f"{LINE.topic}/0/99", f"{LINE.topic}/x/1"])
def test_a_letter_that_nobody_recorded_is_unbalanced(key: str) -> None:
    books = replace(BOOKS, letters=LETTERS | {key: Written(MINUTE_AGO, None)})

    assert failed(books) == ["letters in the topic without a record"]


COPY = f"{LINE.topic}/0/99"
"""Where a letter has no record: its source was settled, as a duplicate."""


def test_a_copy_of_a_recorded_letter_needs_no_record_of_its_own() -> None:
    books = replace(BOOKS, letters=LETTERS | {COPY: Written(MINUTE_AGO, identity(KEYS[0]))})

    assert failed(books) == []
    assert books.copies() == {COPY}


def test_a_letter_without_a_record_is_a_copy_of_none_that_has_no_record_either() -> None:
    strange = Written(MINUTE_AGO, UUID(int=99))
    books = replace(BOOKS, letters=LETTERS | {COPY: strange, f"{LINE.topic}/0/98": strange})

    assert failed(books) == ["letters in the topic without a record"]
    assert books.copies() == frozenset()


def test_a_copy_does_not_stand_for_the_recorded_letter_where_that_is_gone() -> None:
    copy = Written(MINUTE_AGO, identity(KEYS[0]))
    books = replace(BOOKS, letters=written(*KEYS[1:]) | {COPY: copy})

    assert failed(books) == ["letters in the topic = recorded, within retention"]


def test_letters_that_are_not_known_by_an_id_are_no_copies_of_each_other() -> None:
    books = replace(
        BOOKS,
        recorded=RECORDED | {KEYS[0]: replace(recorded(KEYS[0]), id=None)},
        letters=LETTERS | {COPY: Written(MINUTE_AGO, None)},
    )

    assert failed(books) == ["letters in the topic without a record"]
