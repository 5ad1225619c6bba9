"""How dead letters look: as a table, as JSON, one in full, and counted.

Whatever a client chose is shown as text that a terminal takes for nothing else.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from argus_contract import headers
from argus_contract.replays import Report
from rich.markup import escape
from rich.table import Table

from argus_cli.letters import Letter
from argus_cli.render import counted
from argus_cli.replay import Counts, Standing

_COLUMNS: Final = ("when", "reason", "event", "step", "attempt", "id", "key", "settled")
_LINE_BREAKS: Final = "\n\t"
_SHOWN: Final = (
    (headers.REASON, "reason"),
    (headers.STEP, "step"),
    (headers.ERROR, "error"),
    (headers.EVENT, "event"),
    (headers.ID, "id"),
    (headers.TENANT, "tenant"),
    (headers.PIPELINE, "pipeline"),
)
"""Headers that have a line of their own, under the name that it has."""
_SAID: Final = (headers.SOURCE_TOPIC, headers.SOURCE_PARTITION, headers.SOURCE_OFFSET)
"""Headers that the key repeats."""

Row = tuple[str, ...]


def plain(text: str, keep: str = "") -> str:
    """The text with each character that is not printable, nor one to keep, as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def settled(letter: Letter, standing: Standing | None) -> str:
    """What became of the last replay, in a word; empty where there was none."""
    if standing is not None and standing.final:
        return standing.outcome.value
    return "refused again" if standing is not None or letter.attempt > 1 else ""


def row(letter: Letter, standing: Standing | None) -> Row:
    """A line of the table; keeps nothing of the letter's bytes."""
    return (
        f"{letter.at:%Y-%m-%d %H:%M:%S}Z",
        plain(letter.reason),
        plain(letter.event),
        plain(letter.text(headers.STEP)),
        str(letter.attempt),
        plain(letter.text(headers.ID)),
        str(letter.key),
        settled(letter, standing),
    )


def letters_table(title: str, rows: Iterable[Row]) -> Table:
    """One line a letter."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in _COLUMNS:
        table.add_column(
            column,
            justify="right" if column == "attempt" else "left",
            overflow="fold",
            no_wrap=column in ("when", "reason"),
        )
    for one in rows:
        table.add_row(*map(escape, one))
    return table


def as_json(pipeline: str, letter: Letter, standing: Standing | None) -> str:
    """One line of JSON with all that is known but the bytes themselves."""
    document: dict[str, Any] = {
        "pipeline": pipeline,
        "key": str(letter.key),
        "root": str(letter.root),
        "attempt": letter.attempt,
        "at": letter.at.isoformat(),
        "reason": letter.reason,
        "step": letter.text(headers.STEP),
        "error": letter.text(headers.ERROR),
        "event": letter.event or None,
        "id": letter.text(headers.ID),
        "settled": None if standing is None else standing.outcome.value,
        "truncated": letter.truncated,
        "bytes": len(letter.value),
    }
    return json.dumps(document, ensure_ascii=False)


@dataclass(slots=True)
class Sums:
    """How many letters there are for each reason, and how many of these are settled."""

    letters: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)

    def note(self, letter: Letter, standing: Standing | None) -> None:
        """Counts one."""
        reason = letter.reason
        self.letters[reason] = self.letters.get(reason, 0) + 1
        if standing is not None and standing.final:
            self.settled[reason] = self.settled.get(reason, 0) + 1

    def table(self) -> Table:
        """One line a reason, the most frequent first, and the sum."""
        table = Table(box=None, pad_edge=False)
        table.add_column("reason")
        table.add_column("letters", justify="right")
        table.add_column("settled", justify="right")
        for reason, count in sorted(self.letters.items(), key=lambda item: -item[1]):
            table.add_row(escape(plain(reason)), f"{count:,}", f"{self.settled.get(reason, 0):,}")
        if len(self.letters) > 1:
            total, done = sum(self.letters.values()), sum(self.settled.values())
            table.add_row("[bold]all[/]", f"[bold]{total:,}[/]", f"[bold]{done:,}[/]")
        return table


def in_full(letter: Letter, standing: Standing | None, attempts: Sequence[Letter]) -> Table:
    """Everything about a letter but its bytes; `attempts` are all letters of its event."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("key", str(letter.key))
    table.add_row("written", letter.at.isoformat())
    for header, name in _SHOWN:
        if header in letter.fields:
            table.add_row(name, escape(plain(letter.text(header))))
    table.add_row("attempt", str(letter.attempt))
    if letter.root != letter.key:
        table.add_row("first letter", str(letter.root))
    table.add_row("settled", settled(letter, standing) or "no")
    for header, value in _others(letter):
        table.add_row(header, escape(plain(value)))
    for other in attempts:
        if other.key != letter.key:
            what = f"{other.at.isoformat()}  {plain(other.reason)}  {other.key}"
            table.add_row(f"attempt {other.attempt}", escape(what))
    return table


def _others(letter: Letter) -> Iterable[tuple[str, str]]:
    told = {*(header for header, _ in _SHOWN), *_SAID, headers.ATTEMPT, headers.ROOT}
    for header in letter.fields:
        if header not in told:
            yield header, letter.text(header)


def value_text(value: bytes) -> str | None:
    """The bytes as text that is safe to print, None where they are no text."""
    try:
        return plain(value.decode(), _LINE_BREAKS)
    except UnicodeDecodeError:
        return None


def counts_text(counts: Counts, *, dry: bool) -> str:
    """What a replay came to, in one sentence after the other."""
    said = [f"{counted(counts.matched, 'letter')} matched."]
    if dry:
        said.append(f"{counts.passing:,} would pass now.")
    else:
        said.append(
            f"{counts.replayed:,} published: {counts.stored:,} stored,"
            f" {counts.duplicate:,} known already, {counts.failed:,} dead-lettered again."
        )
    if counts.unchecked:
        what = "would be published unchecked" if dry else "were to be published unchecked"
        said.append(f"{counts.unchecked.total():,} {what}: {_by_reason(counts.unchecked)}.")
    left = counts.refused - counts.unchecked
    if left:
        said.append(f"{left.total():,} would be refused again: {_by_reason(left)}.")
    if counts.settled:
        said.append(f"{counts.settled:,} were settled by an earlier replay.")
    if counts.skipped:
        said.append(f"{counts.skipped:,} were refused again by an earlier replay (--again tries).")
    if counts.unsettled:
        said.append(f"{counts.unsettled:,} are not settled yet: run it again.")
    return " ".join(said)


def _by_reason(counts: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in counts.most_common())


def report(counts: Counts, message: str) -> Mapping[str, Any]:
    """What `--report` writes."""
    document: Mapping[str, Any] = msgspec.to_builtins(
        Report(
            matched=counts.matched,
            passing=counts.passing,
            replayed=counts.replayed,
            stored=counts.stored,
            duplicate=counts.duplicate,
            failed=counts.failed,
            refused=counts.refused,
            settled=counts.settled,
            skipped=counts.skipped,
            message=message,
        )
    )
    return document
