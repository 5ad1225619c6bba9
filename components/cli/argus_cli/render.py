"""How ledgers and checks look on a terminal, and in a pipe: the same words, no colour there."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from argus_contract.states import State
from rich.markup import escape
from rich.table import Table

from argus_cli.audit import Books, Check
from argus_cli.ledger import Facts, Line, Summary, Verdict

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
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


def pipelines_table(summaries: Iterable[Summary], now: datetime) -> Table:
    """One row a pipeline, its dead letters by reason; `now` is what ages are counted from."""
    table = Table(box=None, pad_edge=False)
    table.add_column("pipeline", overflow="fold")
    for column in ("records", "stored", "duplicate"):
        table.add_column(column, justify="right")
    table.add_column("dead letters", justify="right")
    for column in ("skipped", "lost", "expired", "in flight", "oldest unread", "last event"):
        table.add_column(column, justify="right")
    table.add_column("state", overflow="fold")
    table.add_column("")
    for one in summaries:
        totals, facts = one.totals, one.facts
        table.add_row(
            one.name,
            f"{totals.records:,}",
            f"{totals.stored:,}",
            f"{totals.duplicate:,}",
            _by_reason(totals.dead_lettered, facts.dead_letters),
            f"{totals.skipped:,}",
            f"{totals.lost:,}",
            f"{totals.expired:,}",
            f"{totals.in_flight:,}",
            age(facts.oldest_unread_at, now),
            age(facts.last_event_at, now),
            _state(facts),
            styled(one.verdict),
        )
    return table


def age(at: datetime | None, now: datetime) -> str:
    """How long ago; a dash for never."""
    return "-" if at is None else span((now - at).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its two greatest units."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def counted(count: int, thing: str) -> str:
    """So many of them, in words: `1 letter`, `2 letters`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _by_reason(count: int, reasons: Mapping[str, int]) -> str:
    each = [f"[dim]{escape(code)}[/] {n:,}" for code, n in sorted(reasons.items())]
    return "\n".join([f"{count:,}", *each])


def _state(facts: Facts) -> str:
    state = facts.state or "unknown"
    if state == State.OPEN:
        return state
    said = f": {facts.reason}" if facts.reason else ""
    return f"[yellow]{escape(state + said)}[/]"


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
