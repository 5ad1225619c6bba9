from datetime import UTC, datetime, timedelta

import pytest
from argus_cli.errors import BadInputError
from argus_cli.letters import Filter, Key, moment
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.dead_letters import TOPIC, letter

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_key_is_read_as_it_is_written() -> None:
    key = Key(TOPIC, 3, 1042)

    assert Key.parse(str(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        *("", "a/b/c", f"{TOPIC}/0", f"{TOPIC}/0/1/2", "/0/1", "a b/0/1"),
        *(f"{TOPIC}/٣/1", f"{TOPIC}/0/१", f"{TOPIC}/{'1' * 11}/1", f"{TOPIC}/1/{'1' * 20}"),
        f"{TOPIC}/0/1\n",
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert Key.parse(text) is None


@given(st.text())
def test_no_text_breaks_the_reader_of_keys(text: str) -> None:
    parsed = Key.parse(text)

    assert parsed is None or str(parsed).isascii()


def test_the_last_offset_of_a_log_is_read() -> None:
    assert Key.parse(f"{TOPIC}/0/{(1 << 63) - 1}") == Key(TOPIC, 0, (1 << 63) - 1)


def test_the_first_letter_of_an_event_is_its_own_root() -> None:
    assert letter(offset=5).root == Key(TOPIC, 0, 5)
    again = letter(offset=9, root=f"{TOPIC}/0/5".encode(), attempt=b"2")
    assert (again.root, again.attempt) == (Key(TOPIC, 0, 5), 2)


@pytest.mark.parametrize("attempt", [b"", b"x", b"-1", b"0", b"9" * 40])
def test_an_attempt_that_is_no_number_counts_as_the_first(attempt: bytes) -> None:
    assert letter(attempt=attempt).attempt == 1


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        (Filter(), True),
        (Filter(reasons=frozenset({"too_old"})), True),
        (Filter(reasons=frozenset({"too_new", "refused"})), False),
        (Filter(events=("page_view",)), True),
        (Filter(events=("click", "page_*")), True),
        (Filter(events=("page_", "page")), False),
        (Filter(since=NOW), True),
        (Filter(since=NOW + timedelta(microseconds=1)), False),
        (Filter(until=NOW), False),
        (Filter(until=NOW + timedelta(microseconds=1)), True),
        (Filter(reasons=frozenset({"too_old"}), events=("click",)), False),
    ],
)
def test_every_condition_that_is_given_must_hold(chosen: Filter, taken: bool) -> None:
    assert chosen.takes(letter(reason="too_old", at=NOW, event=b"page_view")) is taken


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("90s", NOW - timedelta(seconds=90)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-24T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-11-24T11:00:00+01:00", NOW - timedelta(hours=2)),
    ],
)
def test_a_time_is_given_as_a_moment_or_as_long_ago(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2h30m", "2026-11-24", "2026-11-24T10:00:00"])
def test_another_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadInputError, match=r"2026-01-31T12:00:00Z.*2h"):
        moment(text, NOW)
