import io
import json
from collections import Counter

import pytest
from argus_cli.options import WIDE
from argus_cli.render_letters import (
    Sums,
    as_json,
    counts_text,
    in_full,
    letters_table,
    report,
    row,
    settled,
    value_text,
)
from argus_cli.replay import Counts, Outcome, Standing
from rich.console import Console, RenderableType

from tests.unit.cli.dead_letters import IDENTITY, TOPIC, letter

AGAIN = letter(
    offset=9, reason="refused", attempt=b"2", root=f"{TOPIC}/0/7".encode(), error=b"[red]no\x1b"
)


def printed(renderable: RenderableType) -> str:
    written = io.StringIO()
    Console(width=WIDE, file=written).print(renderable)
    return written.getvalue()


def test_a_letter_is_a_line_with_all_that_tells_it_apart() -> None:
    text = printed(letters_table("shop/web", [row(letter(event=b"click"), None)]))

    for said in ("shop/web", "2027-01-15 08:00:00Z", "invalid_event", "click", "ingest", IDENTITY):
        assert said in text
    assert f"{TOPIC}/0/7" in text


@pytest.mark.parametrize(
    ("standing", "word"),
    [
        (None, ""),
        (Standing(2, Outcome.STORED), "stored"),
        (Standing(2, Outcome.DUPLICATE), "duplicate"),
        (Standing(2, Outcome.DEAD_LETTERED), "refused again"),
    ],
)
def test_what_became_of_the_last_replay_is_a_word(standing: Standing | None, word: str) -> None:
    assert settled(letter(), standing) == word
    assert settled(AGAIN, None) == "refused again"


def test_a_letter_in_json_says_what_is_known_but_the_bytes() -> None:
    document = json.loads(as_json("shop/web", AGAIN, Standing(2, Outcome.DEAD_LETTERED)))

    assert document["root"] == f"{TOPIC}/0/7"
    assert (document["attempt"], document["settled"]) == (2, "dead_lettered")
    assert (document["bytes"], document["truncated"]) == (2, False)


def test_letters_are_counted_by_reason() -> None:
    sums = Sums()
    sums.note(letter(reason="too_old"), Standing(2, Outcome.STORED))
    sums.note(letter(reason="too_old"), Standing(2, Outcome.DEAD_LETTERED))
    sums.note(letter(reason="refused"), None)

    lines = [line.split() for line in printed(sums.table()).splitlines()]

    assert lines == [
        ["reason", "letters", "settled"],
        ["too_old", "2", "1"],
        ["refused", "1", "0"],
        ["all", "3", "1"],
    ]


def test_everything_about_a_letter_is_shown_and_nothing_of_it_is_markup() -> None:
    text = printed(in_full(AGAIN, None, [letter(), AGAIN]))

    for said in ("refused", "[red]no\\x1b", IDENTITY, "first letter", f"{TOPIC}/0/7", "attempt 1"):
        assert said in text
    assert "\x1b" not in text


def test_bytes_are_text_where_they_are() -> None:
    assert value_text(b'{"a":\n1}') == '{"a":\n1}'
    assert value_text("ü\x07".encode()) == "ü\\x07"
    assert value_text(b"\xff") is None


def test_a_replay_is_told_in_sentences() -> None:
    counts = Counts(
        matched=20,
        passing=9,
        replayed=9,
        stored=6,
        duplicate=1,
        failed=1,
        settled=4,
        skipped=2,
        refused=Counter(too_old=3, refused=2),
    )

    said = counts_text(counts, dry=False)

    assert said.startswith("20 letters matched. 9 published: 6 stored, 1 known already, 1 dead-")
    assert "5 would be refused again: too_old 3, refused 2." in said
    assert "4 were settled by an earlier replay." in said
    assert "1 are not settled yet" in said
    assert "9 would pass now." in counts_text(counts, dry=True)
    assert report(counts, said)["refused"] == {"too_old": 3, "refused": 2}


def test_what_was_published_unchecked_is_not_said_to_be_refused() -> None:
    counts = Counts(
        matched=5,
        replayed=3,
        failed=3,
        refused=Counter(too_old=3, too_large=2),
        unchecked=Counter(too_old=3),
    )

    said = counts_text(counts, dry=False)

    assert "3 were to be published unchecked: too_old 3." in said
    assert "2 would be refused again: too_large 2." in said
    assert "3 would be published unchecked: too_old 3." in counts_text(counts, dry=True)
    counts.refused = counts.unchecked
    assert "refused again" not in counts_text(counts, dry=False)
