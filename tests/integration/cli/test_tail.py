"""The live stream, read from the ends of real topics."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from argus_cli import tail
from argus_cli.errors import UnknownError
from argus_cli.scope import Name, Scope
from argus_cli.settings import Settings
from argus_cli.sighting import Sighting
from argus_contract.rejects import Code

from tests.integration.stream.world import World, event, reject, until


class Screen:
    """What a tail has shown."""

    def __init__(self) -> None:
        self.shown: list[Sighting] = []

    def show(self, sightings: Sequence[Sighting]) -> None:
        self.shown += sightings

    async def shows(self, *events: str) -> None:
        """Returns once these events, and no others, were shown, in whatever order."""

        async def all_are_there() -> bool:
            return len(self.shown) >= len(events)

        await until(all_are_there, 20, f"{events} shown, not {[one.event for one in self.shown]}")
        assert sorted(one.event for one in self.shown) == sorted(events)


@asynccontextmanager
async def following(world: World, settings: Settings, scope: Scope) -> AsyncIterator[Screen]:
    """A tail that has found its place: what is produced from now on, it shows."""
    screen = Screen()
    task = asyncio.create_task(
        tail.follow(settings.require_kafka(), settings.registry_topic, scope, screen.show)
    )
    first = next(iter(world.pipelines.values()))

    async def reads() -> bool:
        assert not task.done(), task.exception()
        await world.produce(first, [event("probe")])
        return bool(screen.shown)

    await until(reads, 20, "the tail reads", every=0.3)
    await asyncio.sleep(0.5)
    screen.shown.clear()
    try:
        yield screen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_comes_in_is_shown_and_rejects_are_marked(
    world: World, settings: Settings
) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    await world.produce(pipeline, [event("before")])
    async with following(world, settings, Scope(tenant=Name(world.namespace, "shop"))) as screen:
        await world.produce(pipeline, [event("click"), event("page_view")])
        await world.produce(pipeline, [reject(Code.TOO_DEEP, b"[[[")])
        await screen.shows("", "click", "page_view")

    assert [one.refusal for one in screen.shown if not one.event] == ["too_deep"]
    assert {one.pipeline for one in screen.shown} == {f"{world.namespace}/web"}


async def test_a_pipeline_that_appears_is_shown_from_its_beginning(
    world: World, settings: Settings
) -> None:
    web = await world.add_pipeline("web")
    async with following(world, settings, Scope(tenant=Name(world.namespace, "shop"))) as screen:
        api = await world.add_pipeline("api")
        await world.produce(api, [event("first")])
        await screen.shows("first")
        await world.produce(web, [event("second")])
        await screen.shows("first", "second")


async def test_a_partition_that_is_added_is_shown(world: World, settings: Settings) -> None:
    web = await world.add_pipeline("web")
    async with following(world, settings, Scope(pipeline=Name(world.namespace, "web"))) as screen:
        web = await world.grow(web, 2)
        await world.produce(web, [event("added")], partition=1)
        await screen.shows("added")


async def test_other_pipelines_are_not_shown(world: World, settings: Settings) -> None:
    await world.add_pipeline("web")
    api = await world.add_pipeline("api")
    async with following(world, settings, Scope(pipeline=Name(world.namespace, "web"))) as screen:
        await world.produce(api, [event("other")])
        await world.produce(world.pipelines["web"], [event("own")])
        await screen.shows("own")


@pytest.mark.parametrize(
    "scope", [Scope(tenant=Name("nobody", "shop")), Scope(pipeline=Name("nobody", "web"))]
)
async def test_what_does_not_exist_is_said(world: World, settings: Settings, scope: Scope) -> None:
    await world.publish()

    with pytest.raises(UnknownError, match="nobody/"):
        await tail.follow(settings.require_kafka(), settings.registry_topic, scope, print)


async def test_ctrl_c_ends_it_cleanly(world: World, settings: Settings) -> None:
    pipeline = await world.add_pipeline("web")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from argus_cli.main import main; main()"),
        *("tail", "--json", "--event", "cli*", "--tenant", f"{world.namespace}/shop"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ
        | {"ARGUS_KAFKA": world.bootstrap, "ARGUS_REGISTRY_TOPIC": world.registry_topic},
    )
    assert process.stdout is not None
    line = asyncio.create_task(process.stdout.readline())
    try:
        async with asyncio.timeout(60):
            while not line.done():
                await world.produce(pipeline, [event("other"), event("click")])
                await asyncio.wait({line}, timeout=0.3)
    finally:
        process.send_signal(signal.SIGINT)
        _, complaint = await process.communicate()

    assert json.loads(line.result())["event"] == "click"
    assert (process.returncode, complaint) == (0, b"")
