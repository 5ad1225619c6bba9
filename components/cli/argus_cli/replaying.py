"""`argus dlq replay`: from what the command line says to the counts that it ends with."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from argus_cli import database, log, progress, registry
from argus_cli.database import Database
from argus_cli.errors import BadInputError, BlockedError, CliError, TerminatedError, UnknownError
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

    However it ends, what was done until then is in the report. Raises BlockedError with the reasons
    where some pipelines could not be replayed, once all others were; TerminatedError for SIGTERM;
    any other CliError at once.
    """
    counts = Counts()
    with _reporting(request.report, counts):
        async with _terminable(request):
            blocked = await _replay(settings, console, request, counts)
        message = counts_text(counts, dry=request.dry)
        console.print(message, markup=False, soft_wrap=True)
        if blocked:
            raise BlockedError("\n".join(blocked))
    _write(request.report, counts, message)
    return counts


@contextmanager
def _reporting(file: Path | None, counts: Counts) -> Iterator[None]:
    """Whatever ends what runs here is in the report, and rises; a report that cannot be written is
    a note to it."""
    try:
        yield
    except BaseException as error:
        try:
            _write(file, counts, _why(error))
        except CliError as unwritten:
            error.add_note(str(unwritten))
        raise


def _why(error: BaseException) -> str:
    match error:
        case CliError():
            return str(error)
        case asyncio.CancelledError() | typer.Abort():
            return "It was ended before it was done: run it again."
        case _:
            return f"{type(error).__name__}: {error}"


@asynccontextmanager
async def _terminable(request: Request) -> AsyncIterator[None]:
    """SIGTERM cancels what runs here, and is then a TerminatedError.

    Not where a question may be open: it holds up the loop, and the signal would wait for an answer.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if request.asks or task is None:
        yield
        return
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if ended:
            raise TerminatedError("it was ended before it was done: run it again") from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _replay(
    settings: Settings, console: Console, request: Request, counts: Counts
) -> list[str]:
    """Replays pipeline by pipeline; gives the reasons of those that could not be."""
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
        # Before connections are closed, which may take longer than who ends it waits.
        with _reporting(request.report, counts):
            return await _replay_all(run, routes, counts)


async def _replay_all(run: _Installation, routes: list[Route], counts: Counts) -> list[str]:
    blocked = []
    for route in routes:
        try:
            await _replay_one(run, route, counts)
        except (BlockedError, UnknownError) as error:
            blocked.append(f"{route.name}: {error}")
    return blocked


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
    settled, and is not published a second time. Raises BlockedError where it takes too long.
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
            raise BlockedError(
                f"{left:,} records of its log were not read within {run.request.options.wait:g} s;"
                " `argus ledger` says what stands still. Nothing was published: what an earlier"
                " replay published may be among them"
            )
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
