"""The console `argus`. Exit codes: 0 done and in order, 1 not in order, 2 could not be done."""

import asyncio
import logging
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from argus_contract.ids import new_id
from argus_contract.sizes import MAX_EVENTS
from pydantic import ValidationError
from rich.console import Console

from argus_cli import books, database, dlq, log, source
from argus_cli.client import Client
from argus_cli.demo import demonstrate, now_us
from argus_cli.errors import CliError
from argus_cli.ledger import Line, Verdict, judge
from argus_cli.render import books_table, ledger_table, styled
from argus_cli.settings import Settings
from argus_cli.tally import Tally

app = typer.Typer(
    name="argus",
    help=(
        "Sends events to ARGUS and shows what became of them.\n\n"
        "Where the installation is, is read from the environment; on the local cluster, "
        '`eval "$(make -s env)"` sets it.'
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(dlq.app)
Given = TypeVar("Given")
Only = tuple[str | None, str | None]
"""Namespace and name of the one tenant to look at, None and None for all."""

Tenant = Annotated[
    str | None, typer.Option(help="Only this tenant, as namespace/name.", show_default=False)
]


@app.callback()
def _root() -> None:
    """Keeps each command a word of its own."""


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=3, help="How long to send.")] = 20,
    rate: Annotated[int, typer.Option(min=10, max=4_000, help="Events per second.")] = 250,
) -> None:
    """Send believable traffic, watch it arrive, and balance the ledger.

    Sends as the tenant of ARGUS_API_KEY, prints a line a second, and ends with every count held
    against what the sender itself saw acknowledged. Can be run on a system in use.
    """
    if not _run(demonstrate(Settings(), _console(), seconds=seconds, rate=rate)):
        raise typer.Exit(1)


@app.command()
def ledger(
    tenant: Tenant = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Count rows and dead letters, and compare.")
    ] = False,
) -> None:
    """Show what became of every record, by pipeline and partition.

    Log end - log start = stored + duplicate + dead-lettered, with nothing skipped or lost, once
    the log is read to its end. Needs ARGUS_DATABASE_URL; with ARGUS_KAFKA the log's end is the
    broker's, else the one that the stream saw last. Exits with 1 where anything is unbalanced.
    """
    verdict = _run(_ledger(Settings(), _console(), _namespaced(tenant), audit=audit))
    if verdict is Verdict.UNBALANCED:
        raise typer.Exit(1)


@app.command()
def send(
    file: Annotated[
        Path, typer.Argument(help="NDJSON or a JSON array; `-` reads standard input.")
    ] = Path("-"),
    batch: Annotated[
        int, typer.Option(min=1, max=MAX_EVENTS, help="Events in one request, at most.")
    ] = 500,
) -> None:
    """Send events from a file or standard input.

    An event without an id is given one, so that nothing is stored twice where a request has to be
    made again. Exits with 1 where an event was refused or not acknowledged.
    """
    tally = _run(_send(Settings(), _console(), file, batch))
    if tally.rejected or tally.unacknowledged:
        raise typer.Exit(1)


async def _ledger(settings: Settings, console: Console, only: Only, *, audit: bool) -> Verdict:
    async with AsyncExitStack() as stack:
        sql = await stack.enter_async_context(database.reading(settings.require_database()))
        if not (audit or settings.kafka):
            return _show(console, await sql.lines(*only))
        kafka = await stack.enter_async_context(log.reading(settings.require_kafka()))
        if not audit:
            return _show(console, await books.with_log_ends(await sql.lines(*only), kafka))
        audited = await books.gather(sql, kafka, *only)
    _show(console, [line for one in audited for line in one.lines])
    for one in audited:
        console.print()
        console.print(books_table(one))
    verdict = judge(one.verdict for one in audited)
    console.print(f"\nThe ledger is {styled(verdict)}.")
    return verdict


def _show(console: Console, lines: list[Line]) -> Verdict:
    console.print(ledger_table(lines))
    return judge(line.verdict for line in lines)


async def _send(settings: Settings, console: Console, file: Path, batch: int) -> Tally:
    tally, sent = Tally(), 0
    async with Client(settings.require_url(), settings.require_api_key()) as client:
        with source.opened(file) as stream:
            for request in source.requests(source.events(stream), batch, lambda: new_id(now_us())):
                answer = await client.send(request)
                tally.note(request, answer)
                for refused in answer.rejected:
                    number = sent + refused.index + 1
                    said = f"event {number} refused: {refused.code}: {refused.message}"
                    console.print(said, markup=False)
                sent += len(request.ids)
    console.print(f"accepted {tally.accepted:,}, refused {tally.rejected.total():,}")
    for reason, count in tally.unacknowledged.items():
        console.print(f"not acknowledged: {count} requests: {reason}", markup=False)
    return tally


def _namespaced(tenant: str | None) -> Only:
    if tenant is None:
        return None, None
    namespace, slash, name = tenant.partition("/")
    if not (namespace and slash and name):
        raise typer.BadParameter("give the tenant as namespace/name", param_hint="--tenant")
    return namespace, name


def _console() -> Console:
    piped = not sys.stdout.isatty()
    return Console(width=140 if piped else None, highlight=False)


def _run(command: Coroutine[Any, Any, Given]) -> Given:
    return asyncio.run(command)


def main() -> None:
    """Runs the command line; errors for people are printed as one message, with exit code 2."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(prog_name="argus")
    except CliError as error:
        print(f"argus: {error}", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        print(f"argus: a setting is wrong: {error}", file=sys.stderr)
        sys.exit(2)
