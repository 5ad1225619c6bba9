import io
from dataclasses import replace
from datetime import timedelta

import pytest
from argus_cli.audit import Check
from argus_cli.ledger import Summary
from argus_cli.options import WIDE
from argus_cli.render import age, books_table, checks_table, ledger_table, pipelines_table
from rich.console import Console, RenderableType

from tests.unit.cli.samples import BOOKS, FACTS, LINE, MINUTE_AGO, NOW


def printed(renderable: RenderableType) -> str:
    written = io.StringIO()
    Console(width=WIDE, file=written).print(renderable)
    return written.getvalue()


def test_a_ledger_names_a_pipeline_once_and_every_partition() -> None:
    text = printed(ledger_table([LINE, replace(LINE, partition=1, stored=1_234_567)]))

    assert text.count("shop/web/main") == 1
    assert "1,234,567" in text
    assert "balanced" in text
    assert "UNBALANCED" in text


def test_a_pipeline_is_one_line_with_its_letters_by_reason_and_its_state() -> None:
    stuck = replace(FACTS, state="paused", reason="the disk is full", oldest_unread_at=MINUTE_AGO)
    behind = replace(LINE, log_end=105, skipped=1, stored=79)

    text = printed(pipelines_table([Summary([LINE, behind], stuck)], NOW))

    for said in (
        "shop/main",
        "too_old 1",
        "invalid_event 2",
        "paused: the disk is full",
        "5m",
        "2m",
    ):
        assert said in text
    assert "in flight" in text.splitlines()[1]


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(minutes=61, seconds=7), "1h 1m"),
        (timedelta(days=3), "3d 0h"),
    ],
)
def test_an_age_is_told_in_two_units(ago: timedelta, text: str) -> None:
    assert age(NOW - ago, NOW) == text
    assert age(None, NOW) == "-"


def test_a_check_that_fails_shows_both_sides_and_its_note() -> None:
    text = printed(checks_table("checks", [Check("a = b", 3, 2, "missing: x")]))

    assert "NO" in text
    assert "missing: x" in text


def test_a_name_that_a_client_chose_is_no_markup() -> None:
    text = printed(checks_table("checks", [Check("[/red] = [bold]b", 3, 2, "[/] missing")]))

    assert "[/red] = [bold]b" in text
    assert "[/] missing" in text


def test_books_show_their_name_and_verdict() -> None:
    assert "shop/web/main: balanced" in printed(books_table(BOOKS))
    assert "shop/web/main: UNBALANCED" in printed(books_table(replace(BOOKS, rows=1)))
