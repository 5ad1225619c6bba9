"""`argus dlq ls` and `argus dlq show`: letters from their topic, with what SQL knows of them."""

import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from argus_contract.names import TopicName, dead_letter_topic
from rich.console import Console

from argus_cli import database, log, registry
from argus_cli.database import Database
from argus_cli.errors import UnknownError
from argus_cli.letters import Filter, Key, Letter
from argus_cli.log import Log
from argus_cli.render_letters import Row, Sums, as_json, in_full, letters_table, row, value_text
from argus_cli.replay import CHUNK, Standing
from argus_cli.scope import Route, Scope
from argus_cli.settings import Settings

Judged = tuple[Letter, Standing | None]


@dataclass(frozen=True, slots=True)
class View:
    """Where letters are read; without a database nobody knows what is settled."""

    log: Log
    sql: Database | None

    async def letters(self, topic: str, chosen: Filter) -> AsyncIterator[Judged]:
        """The latest letter of each event that the filter takes."""
        found, _ = await self.log.latest(topic, chosen.since)
        chunk: list[Letter] = []
        async for letter in found:
            if chosen.takes(letter):
                chunk.append(letter)
            if len(chunk) >= CHUNK:
                for one in await self.judged(chunk):
                    yield one
                chunk = []
        for one in await self.judged(chunk):
            yield one

    async def judged(self, letters: list[Letter]) -> list[Judged]:
        """Each with how its last replay was settled."""
        if self.sql is None or not letters:
            return [(letter, None) for letter in letters]
        standings = await self.sql.standings([str(letter.root) for letter in letters])
        return [(letter, standings.get(str(letter.root))) for letter in letters]


async def opened(stack: AsyncExitStack, settings: Settings) -> View:
    """A view of the installation that the settings name; the database is used where it is named."""
    sql = None
    if settings.database_url or settings.database:
        sql = await stack.enter_async_context(database.reading(settings.require_database()))
    return View(await stack.enter_async_context(log.reading(settings.require_kafka())), sql)


async def ls(
    settings: Settings, console: Console, scope: Scope, chosen: Filter, limit: int, *, json: bool
) -> None:
    """Prints the letters of each pipeline in scope, then the counts of all."""
    routes = await registry.pipelines(settings.require_kafka(), settings.registry_topic, scope)
    sums = Sums()
    async with AsyncExitStack() as stack:
        view = await opened(stack, settings)
        for route in routes:
            letters = view.letters(route.pipeline.dead_letter_topic, chosen)
            if json:
                await _lines(route, letters, limit)
            else:
                await _table(console, route, letters, sums, limit)
    if json:
        return
    if not sums.letters:
        console.print("There are no such dead letters.")
        return
    console.print(sums.table())
    if view.sql is None:
        console.print("\nARGUS_DATABASE_URL is not set, so nobody knows what is settled.")


async def _lines(route: Route, letters: AsyncIterator[Judged], limit: int) -> None:
    newest: deque[str] = deque(maxlen=limit or None)
    async for letter, standing in letters:
        line = as_json(route.name, letter, standing)
        if limit:
            newest.append(line)
        else:
            print(line)
    for line in newest:
        print(line)


async def _table(
    console: Console, route: Route, letters: AsyncIterator[Judged], sums: Sums, limit: int
) -> None:
    newest: deque[Row] = deque(maxlen=limit or None)
    found = 0
    async for letter, standing in letters:
        found += 1
        sums.note(letter, standing)
        newest.append(row(letter, standing))
    if not found:
        return
    shown = "" if found == len(newest) else f", the newest {len(newest):,} of {found:,}"
    console.print(letters_table(f"{route.name}{shown}", newest))
    console.print()


async def show(settings: Settings, console: Console, key: Key, *, raw: bool) -> None:
    """Prints one letter in full, or its bytes alone; raises UnknownError where it is not there."""
    topic = await _letters_of(settings, TopicName(key.topic))
    async with AsyncExitStack() as stack:
        view = await opened(stack, settings)
        letter = await _find(view.log, topic, key)
        if raw:
            sys.stdout.buffer.write(letter.value)
            return
        [(_, standing)] = await view.judged([letter])
        attempts = [one async for one in view.log.letters(topic) if one.root == letter.root]
    console.print(in_full(letter, standing, list({one.key: one for one in attempts}.values())))
    console.print()
    text = value_text(letter.value)
    if text is None:
        console.print(f"{len(letter.value):,} bytes that are no text: --raw writes them.")
    else:
        console.print(text, markup=False, soft_wrap=True)


async def _letters_of(settings: Settings, topic: TopicName) -> TopicName:
    """Where the letters of a topic are; of one that no pipeline has, where ARGUS would put them."""
    documents = await registry.snapshot(settings.require_kafka(), settings.registry_topic)
    for route in Scope().routes(documents.values()):
        if route.pipeline.topic == topic:
            return route.pipeline.dead_letter_topic
    return dead_letter_topic(topic)


async def _find(view: Log, topic: str, key: Key) -> Letter:
    async for letter in view.letters(topic):
        if letter.key == key:
            return letter
    raise UnknownError(f"{topic} has no letter {key}: has it outlived its retention?")
