import io
from dataclasses import replace

from argus_cli.audit import Check
from argus_cli.render import books_table, checks_table, ledger_table
from rich.console import Console, RenderableType

from tests.unit.cli.samples import BOOKS, LINE


def printed(renderable: RenderableType) -> str:
    written = io.StringIO()
    Console(width=140, file=written).print(renderable)
    return written.getvalue()


def test_a_ledger_names_a_pipeline_once_and_every_partition() -> None:
    text = printed(ledger_table([LINE, replace(LINE, partition=1, stored=1_234_567)]))

    assert text.count("shop/web/main") == 1
    assert "1,234,567" in text
    assert "balanced" in text
    assert "UNBALANCED" in text


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
