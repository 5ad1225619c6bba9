"""What the ledger's figures mean: rates, troubles, audits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argus_contract.states import State
from argus_operator import ledger
from argus_operator.ledger import Audit, Books, Rates, Reason

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BOOKS = Books("u", "n", "shop", "web", "argus.n.web.0", NOW, state=State.OPEN, sampled_at=NOW)


def later(seconds: float, **fields: Any) -> Books:
    return replace(BOOKS, at=NOW + timedelta(seconds=seconds), **fields)


class TestRates:
    @pytest.mark.parametrize(
        ("stored", "seconds", "rate"),
        [(0, 30, 0), (30, 30, 1), (1, 30, 0.033), (123_456, 30, 4_100), (5, 1, 5)],
    )
    def test_a_rate_has_two_digits(self, stored: int, seconds: float, rate: float) -> None:
        assert ledger.rates(BOOKS, later(seconds, stored=stored)) == Rates(rate, 0)

    def test_dead_letters_have_a_rate_of_their_own(self) -> None:
        assert ledger.rates(BOOKS, later(10, dead_lettered=20)) == Rates(0, 2)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (BOOKS, later(0, stored=5)),
            (BOOKS, later(0.5, stored=5)),
            (BOOKS, later(-60, stored=5)),
            (replace(BOOKS, stored=9), later(30, stored=5)),
            (replace(BOOKS, dead_lettered=9), later(30, dead_lettered=5)),
        ],
        ids=["no time", "hardly any", "a clock set back", "older rows", "older letters"],
    )
    def test_what_cannot_be_told_is_no_rate(self, before: Books, after: Books) -> None:
        assert ledger.rates(before, after) is None


def reasons(books: Books, audit: Audit | None = None) -> list[Reason]:
    return [trouble.reason for trouble in ledger.troubles(books, audit)]


class TestTroubles:
    @pytest.mark.parametrize(
        ("state", "why", "reason"),
        [
            (State.STOPPED, "the log ends at 3, before offset 7", Reason.PARTITION_STOPPED),
            (State.GUARDED, "900 of 1,000 rows were refused", Reason.GUARD_TRIPPED),
            (State.PAUSED, "relation does not exist", Reason.STORE_PAUSED),
            (State.PAUSED, "dead letters: no broker", Reason.LETTERS_BLOCKED),
        ],
    )
    def test_a_state_is_a_reason_and_the_streams_words_are_in_the_message(
        self, state: State, why: str, reason: Reason
    ) -> None:
        (trouble,) = ledger.troubles(replace(BOOKS, state=state, reason=why), None)

        assert trouble.reason is reason
        assert why in trouble.message

    def test_a_halted_partition_waits_for_the_databases_owner_not_for_the_broker(self) -> None:
        (trouble,) = ledger.troubles(replace(BOOKS, state=State.STOPPED, reason="r"), None)

        assert "call argus.resume_partition as the database's owner" in trouble.message

    @pytest.mark.parametrize("state", [State.OPEN, None])
    def test_an_open_partition_is_no_trouble(self, state: State | None) -> None:
        assert reasons(replace(BOOKS, state=state)) == []

    def test_what_is_in_flight_or_skipped_is_no_trouble(self) -> None:
        assert reasons(replace(BOOKS, log_end=9, in_flight=7, skipped=2)) == []

    def test_lost_records_are_told_last_for_nobody_can_mend_them(self) -> None:
        ill = replace(BOOKS, state=State.GUARDED, lost=3, balanced=False)

        assert reasons(ill) == [Reason.GUARD_TRIPPED, Reason.RECORDS_LOST]

    def test_terms_that_do_not_add_up_are_unbalanced(self) -> None:
        assert reasons(replace(BOOKS, balanced=False)) == [Reason.UNBALANCED]

    def test_an_audit_that_disagrees_is_unbalanced_and_says_what_it_counted(self) -> None:
        (trouble,) = ledger.troubles(BOOKS, Audit(NOW, False, "rows 1 ≠ stored 2"))

        assert trouble.reason is Reason.UNBALANCED
        assert "2026-05-01T12:00:00Z" in trouble.message
        assert "rows 1 ≠ stored 2" in trouble.message

    def test_silence_says_since_when(self) -> None:
        assert "since 2026-05-01T12:00:00Z" in ledger.silence(BOOKS).message
        assert "since" not in ledger.silence(replace(BOOKS, sampled_at=None)).message


COUNTS = {
    "stored": 10,
    "expired": 3,
    "rows": 7,
    "dead_lettered": 5,
    "letters_expired": 4,
    "letters": 1,
}


class TestAudit:
    def test_what_is_there_and_what_expired_are_what_was_stored(self) -> None:
        found = ledger.audit(NOW, COUNTS)

        assert found.balanced
        assert "rows 7 + expired 3 = stored 10" in found.message
        assert "letters 1 + expired 4 = dead-lettered 5" in found.message

    @pytest.mark.parametrize("term", sorted(COUNTS))
    @pytest.mark.parametrize("off", [-1, 1])
    def test_one_more_or_less_of_anything_is_found(self, term: str, off: int) -> None:
        found = ledger.audit(NOW, COUNTS | {term: COUNTS[term] + off})

        assert not found.balanced
        assert "≠" in found.message


class TestBooks:
    def test_the_age_of_the_oldest_is_never_negative(self) -> None:
        assert BOOKS.oldest_unread == 0
        assert replace(BOOKS, oldest_unread_at=NOW - timedelta(seconds=7)).oldest_unread == 7
        assert replace(BOOKS, oldest_unread_at=NOW + timedelta(seconds=7)).oldest_unread == 0

    def test_records_are_counted_from_where_the_books_begin(self) -> None:
        assert replace(BOOKS, log_start=5, log_end=12).records == 7
