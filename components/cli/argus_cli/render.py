"""How ledgers and checks look on a terminal, and in a pipe: the same words, no colour there."""

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from argus_cli.audit import Books, Check
from argus_cli.ledger import Line, Verdict

_STYLE = {Verdict.BALANCED: "green", Verdict.BEHIND: "yellow", Verdict.UNBALANCED: "bold red"}


def styled(verdict: Verdict) -> str:
    """The verdict in its colour."""
    return f"[{_STYLE[verdict]}]{verdict}[/]"


def ledger_table(lines: Iterable[Line]) -> Table:
    """One row a partition; the first column names the pipeline where it changes."""
    table = Table(box=None, pad_edge=False)
    table.add_column("pipeline", overflow="fold")
    table.add_column("part", justify="right")
    for column in ("records", "stored", "duplicate", "dead", "skipped", "lost"):
        table.add_column(column, justify="right")
    for column in ("expired", "in flight"):
        table.add_column(column, justify="right")
    table.add_column("")
    named = ""
    for line in lines:
        name = f"{line.owner}/{line.pipeline}"
        table.add_row(
            "" if name == named else name,
            str(line.partition),
            *(f"{count:,}" for count in _counts(line)),
            styled(line.verdict),
        )
        named = name
    return table


def _counts(line: Line) -> tuple[int, ...]:
    return (
        line.records,
        line.stored,
        line.duplicate,
        line.dead_lettered,
        line.skipped,
        line.lost,
        line.expired,
        line.in_flight,
    )


def checks_table(title: str, checks: Iterable[Check]) -> Table:
    """One row an equation: both sides, and whether they agree."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("")
    table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    for check in checks:
        mark = "[green]ok[/]" if check.holds else "[bold red]NO[/]"
        what = escape(check.what)
        if check.note:
            what += f"\n[red]{escape(check.note)}[/]"
        table.add_row(mark, what, f"{check.expected:,}", f"{check.found:,}")
    return table


def books_table(books: Books) -> Table:
    """The checks of one pipeline under its name."""
    return checks_table(f"{books.name}: {styled(books.verdict)}", books.checks())
