"""`argus dlq replay`: from what the command line says to the counts that it ends with."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from argus_cli import database, log, progress, registry
from argus_cli.database import Database
from argus_cli.errors import BadInputError, CliError, UnreachableError
from argus_cli.letters import Filter, Letter
from argus_cli.log import Log
from argus_cli.publish import Publisher, publishing
from argus_cli.render_letters import counts_text, report
from argus_cli.replay import Counts, Options, Replayer
from argus_cli.scope import Route, Scope
from argus_cli.settings import Settings

_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Request:
    """What to replay and how; `asks` is whether there is somebody to ask before it publishes."""

    scope: Scope
    filter: Filter
    options: Options
    dry: bool
    asks: bool
    report: Path | None


@dataclass(frozen=True, slots=True)
class _Installation:
    """The connected parts of one run."""

    sql: Database
    log: Log
    publisher: Publisher
    console: Console
    request: Request


async def replay(settings: Settings, console: Console, request: Request) -> Counts:
    """The whole run, told on the console and in the report file; gives the sums.

    Raises CliError, after it has written what was done until then into the report.
    """
    counts = Counts()
    try:
        await _replay(settings, console, request, counts)
    except CliError as error:
        _write(request.report, counts, str(error))
        raise
    message = counts_text(counts, dry=request.dry)
    console.print(message, markup=False, soft_wrap=True)
    _write(request.report, counts, message)
    return counts


async def _replay(settings: Settings, console: Console, request: Request, counts: Counts) -> None:
    kafka, target = settings.require_kafka(), settings.require_database()
    routes = await registry.pipelines(kafka, settings.registry_topic, request.scope)
    async with AsyncExitStack() as stack:
        run = _Installation(
            sql=await stack.enter_async_context(database.reading(target)),
            log=await stack.enter_async_context(log.reading(kafka)),
            publisher=await stack.enter_async_context(publishing(kafka)),
            console=console,
            request=request,
        )
        for route in routes:
            await _replay_one(run, route, counts)


async def _replay_one(run: _Installation, route: Route, counts: Counts) -> None:
    request = run.request
    if not request.dry:
        await _caught_up(run, route)
    planner = Replayer(route.pipeline, run.sql, run.publisher, request.options)
    planned = await planner.plan(_asked(run, route))
    if request.dry:
        counts.add(planned)
        return
    total = planned.passing + planned.unchecked.total()
    if total and request.asks:
        rate = f"at {request.options.rate:g}/s" if request.options.rate else "at once"
        typer.confirm(
            f"{route.name}: {counts_text(planned, dry=True)} Publish {total:,} {rate}?", abort=True
        )
    with progress.showing(run.console, route.name, total) as show:
        replayer = Replayer(route.pipeline, run.sql, run.publisher, request.options, show)
        try:
            await replayer.run(_asked(run, route))
        finally:
            counts.add(replayer.counts)


async def _asked(run: _Installation, route: Route) -> AsyncIterator[Letter]:
    """The latest letter of each event that the filter takes."""
    chosen = run.request.filter
    letters, _ = await run.log.latest(route.pipeline.dead_letter_topic, chosen.since)
    async for letter in letters:
        if chosen.takes(letter):
            yield letter


async def _caught_up(run: _Installation, route: Route) -> None:
    """Returns once the stream has read what is in the log now.

    An earlier run that was cut off may have published some of it: what became of that is then
    settled, and is not published a second time. Raises UnreachableError where it takes too long.
    """
    topic = route.pipeline.topic
    wanted = [(topic, partition) for partition in range(route.pipeline.partitions)]
    ends = {where[1]: end for where, end in (await run.log.ends(wanted)).items() if end}
    deadline = time.monotonic() + run.request.options.wait
    while True:
        read = await run.sql.positions(topic)
        left = sum(max(0, end - read.get(partition, 0)) for partition, end in ends.items())
        if not left:
            return
        if time.monotonic() > deadline:
            said = (
                f"{left:,} records of {route.name} were not read within"
                f" {run.request.options.wait:g} s; `argus ledger` says what stands still. Nothing"
                " was published: what an earlier replay published may be among them"
            )
            raise UnreachableError("the end of the log", said)
        await asyncio.sleep(_LOOK_S)


def _write(file: Path | None, counts: Counts, message: str) -> None:
    if file is None:
        return
    try:
        file.write_text(json.dumps(report(counts, message)), encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{file} cannot be written: {error.strerror}") from error


def terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()
