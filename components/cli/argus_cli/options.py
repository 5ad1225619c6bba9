"""Options that several commands have, and how their texts become values."""

import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import typer
from argus_contract.rejects import Code
from rich.console import Console

from argus_cli.letters import Filter, moment

PIPED_WIDTH: Final = 140
WIDE: Final = 240
"""For tables of many columns: in a pipe no line of theirs is broken."""
Given = TypeVar("Given")

Tenant = Annotated[
    str | None, typer.Option(help="Only this tenant, as namespace/name.", show_default=False)
]
Pipeline = Annotated[
    str | None, typer.Option(help="Only this pipeline, as namespace/name.", show_default=False)
]
Reasons = Annotated[
    list[Code] | None,
    typer.Option("--reason", help="Only letters with this reason; repeatable.", show_default=False),
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event", help="Only this event; `*` at the end takes the rest.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option(help="Written from then on: RFC 3339, or `2h` for ago.", show_default=False),
]
Until = Annotated[
    str | None, typer.Option(help="Written before: RFC 3339, or `2h` for ago.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def chosen(
    reasons: list[Code] | None, events: list[str] | None, since: str | None, until: str | None
) -> Filter:
    """The filter of these options; raises BadInputError for what is no time."""
    now = datetime.now(UTC)
    return Filter(
        reasons=frozenset(reason.value for reason in reasons or ()),
        events=tuple(events or ()),
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
    )


def console(width: int = PIPED_WIDTH) -> Console:
    """Standard output; in a pipe as wide as that."""
    piped = not sys.stdout.isatty()
    return Console(width=width if piped else None, highlight=False)


def run(command: Coroutine[Any, Any, Given]) -> Given:
    """Runs a command to its end."""
    return asyncio.run(command)


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["**Examples**", *(f"`{command}`" for command in commands)])
