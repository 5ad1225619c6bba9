"""The console `argus`. Exit codes: 0 done and in order, 1 not in order, 2 could not be done."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from argus_contract.ids import new_id
from argus_contract.sizes import MAX_EVENTS
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from argus_cli import accounting, dlq, options, source
from argus_cli import tail as following
from argus_cli.client import Client
from argus_cli.demo import demonstrate, now_us
from argus_cli.doctor import examination
from argus_cli.errors import CliError
from argus_cli.ledger import Verdict
from argus_cli.options import WIDE
from argus_cli.scope import Scope
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


@app.callback()
def _root() -> None:
    """Keeps each command a word of its own."""


@app.command(
    epilog=options.examples("argus demo", "argus demo --seconds 60 --rate 1000"),
)
def demo(
    seconds: Annotated[int, typer.Option(min=3, help="How long to send.")] = 20,
    rate: Annotated[int, typer.Option(min=10, max=4_000, help="Events per second.")] = 250,
) -> None:
    """Send believable traffic, watch it arrive, and balance the ledger.

    Sends as the tenant of ARGUS_API_KEY, prints a line a second, and ends with every count held
    against what the sender itself saw acknowledged. Can be run on a system in use.
    """
    if not options.run(demonstrate(Settings(), options.console(), seconds=seconds, rate=rate)):
        raise typer.Exit(1)


@app.command(
    epilog=options.examples(
        "argus ledger",
        "argus ledger --tenant shop/acme --partitions",
        "argus ledger --audit",
        "argus ledger --json | jq '.pipelines[] | {pipeline, in_flight}'",
    )
)
def ledger(
    tenant: options.Tenant = None,
    pipeline: options.Pipeline = None,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="A line for each partition.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Count rows and dead letters, and compare.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show what became of every record, by pipeline.

    Log end - log start = stored + duplicate + dead letters + skipped, and nothing lost, once the
    log is read to its end. Needs ARGUS_DATABASE_URL; with ARGUS_KAFKA the log's end is the
    broker's, else the one that the stream saw last. Exits with 1 where anything is unbalanced.
    """
    verdict = options.run(
        accounting.ledger(
            Settings(),
            options.console(WIDE),
            Scope.parse(tenant, pipeline),
            partitions=partitions,
            audit=audit,
            as_json=as_json,
        )
    )
    if verdict is Verdict.UNBALANCED:
        raise typer.Exit(1)


@app.command(
    epilog=options.examples(
        "argus send events.ndjson",
        "jq -c '.[]' export.json | argus send --batch 1000",
    ),
)
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
    tally = options.run(_send(Settings(), options.console(), file, batch))
    if tally.rejected or tally.unacknowledged:
        raise typer.Exit(1)


@app.command(
    epilog=options.examples(
        "argus tail --tenant shop/acme",
        "argus tail --pipeline shop/web --event 'page_*'",
        "argus tail --tenant shop/acme --json | jq -r .event | sort | uniq -c",
    )
)
def tail(
    tenant: options.Tenant = None,
    pipeline: options.Pipeline = None,
    events: options.Events = None,
    as_json: options.Json = False,
) -> None:
    """Show events as they are accepted, until Ctrl-C.

    Reads the ends of the topics and joins no group, so nobody notices. What ingest refused is
    marked; what the stream will refuse is not known yet.
    """
    scope = Scope.parse(tenant, pipeline)
    options.run(
        following.tail(Settings(), options.console(), scope, tuple(events or ()), as_json=as_json)
    )


@app.command(
    epilog=options.examples("argus doctor", "argus doctor --json | jq '.findings[] | .said'"),
)
def doctor(
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that each question may take.")
    ] = 10,
    as_json: options.Json = False,
) -> None:
    """Ask every dependency how it is, and say what is wrong and what to do.

    Asks ingest, Kafka, Redis, the database and, with KUBECONFIG, the pods, all at once; what the
    environment does not name is not asked. Stores nothing. Exits with 1 where something is wrong.
    """
    if not options.run(examination.doctor(Settings(), options.console(), timeout, as_json=as_json)):
        raise typer.Exit(1)


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


def main() -> None:
    """Runs the command line; errors for people are printed as one message, with exit code 2."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(prog_name="argus")
    except CliError as error:
        for said in (str(error), *getattr(error, "__notes__", ())):
            print(f"argus: {said}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (ValidationError, SettingsError) as error:
        print(f"argus: a setting is wrong: {error}", file=sys.stderr)
        sys.exit(2)
