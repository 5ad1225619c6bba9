"""`argus dlq`: dead letters in hand. The commands' words; what they do is in other modules."""

from pathlib import Path
from typing import Annotated, Final

import typer

from argus_cli import listing, options, replaying
from argus_cli.errors import BadInputError
from argus_cli.letters import Key
from argus_cli.replay import Options
from argus_cli.scope import Scope
from argus_cli.settings import Settings

SHOWN: Final = 50

app = typer.Typer(
    name="dlq",
    help="List, show and replay dead letters.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command(
    "ls",
    epilog=options.examples(
        "argus dlq ls --since 2h",
        "argus dlq ls --pipeline shop/web --reason too_old --event 'page_*'",
        "argus dlq ls --json | jq -r .error | sort | uniq -c",
    ),
)
def ls(
    tenant: options.Tenant = None,
    pipeline: options.Pipeline = None,
    reasons: options.Reasons = None,
    events: options.Events = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"The newest of each pipeline; 0 for all. {SHOWN}, with --json all.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List dead letters, and count them by reason.

    Of an event that was replayed and refused again, the latest letter is shown. `settled` says what
    became of its last replay. Reads Kafka; ARGUS_DATABASE_URL tells what is settled.
    """
    most = limit if limit is not None else (0 if as_json else SHOWN)
    chosen = options.chosen(reasons, events, since, until)
    scope = Scope.parse(tenant, pipeline)
    options.run(
        listing.ls(Settings(), options.console(options.WIDE), scope, chosen, most, json=as_json)
    )


@app.command(
    "show",
    epilog=options.examples(
        "argus dlq show argus.shop.web.0f3a9c21/0/1042",
        "argus dlq show argus.shop.web.0f3a9c21/0/1042 --raw > event.json",
    ),
)
def show(
    key: Annotated[str, typer.Argument(help="A letter's key, as `argus dlq ls` shows it.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Only the refused bytes, unchanged, to standard output.")
    ] = False,
) -> None:
    """Show all that is known of one dead letter, and the bytes that were refused."""
    parsed = Key.parse(key)
    if parsed is None:
        raise BadInputError(
            f"{key!r} is no key: it is topic/partition/offset, as in `argus dlq ls`"
        )
    options.run(listing.show(Settings(), options.console(), parsed, raw=raw))


@app.command(
    "replay",
    epilog=options.examples(
        "argus dlq replay --pipeline shop/web --reason too_old --dry-run",
        "argus dlq replay --pipeline shop/web --reason too_old --rate 200",
        "argus dlq replay --tenant shop/acme --since 2026-01-31T00:00:00Z --yes",
    ),
)
def replay(
    tenant: options.Tenant = None,
    pipeline: options.Pipeline = None,
    reasons: options.Reasons = None,
    events: options.Events = None,
    since: options.Since = None,
    until: options.Until = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would pass now; publish nothing.")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0, help="Records per second, at most; 0 for no limit.")
    ] = 500,
    again: Annotated[
        bool, typer.Option("--again", help="Also what a replay had refused again before.")
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Also what would be refused again.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a stream that does not get on.")
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the counts there as JSON.", show_default=False)
    ] = None,
) -> None:
    """Publish dead letters again that would pass now.

    Each letter is judged as ingest and the stream would judge it today. What passes is published to
    its pipeline's topic and waited for; what would be refused again is counted and left alone. What
    an earlier replay has stored is never published again, so a run that was cut off is simply run
    again. Exits with 1 where something is not settled in time, or where the stream does not read a
    pipeline's log: of that one nothing is published, and the others are replayed all the same.
    """
    request = replaying.Request(
        scope=Scope.parse(tenant, pipeline),
        filter=options.chosen(reasons, events, since, until),
        options=Options(rate=rate, wait=wait, again=again, unchecked=unchecked),
        dry=dry,
        asks=not yes and replaying.terminal(),
        report=report,
    )
    if options.run(replaying.replay(Settings(), options.console(), request)).unsettled:
        raise typer.Exit(1)
