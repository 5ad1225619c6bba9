"""Several processes, and processes that die."""

import asyncio
import random
import signal
import socket
from collections import Counter

import pytest
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_stream.adapters.timescale import TimescaleStore
from argus_stream.errors import FencedError
from argus_stream.service import storing_options
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Route, Source

from tests.integration.stream.processes import process
from tests.integration.stream.world import Message, World, event, micros, reject, until

MANY = 24
"""Partitions: enough that two members, whose ids are random, never leave one without a share."""


def mixture(count: int, seed: int) -> tuple[list[Message], Counter[str]]:
    """A log of events, copies, rejects, strangers and poison, and what the ledger must say."""
    choose = random.Random(seed)
    log: list[Message] = []
    expected: Counter[str] = Counter(lost=0, offsets=count)
    events: list[Message] = []
    for _ in range(count):
        kind = choose.choices(
            ["event", "copy", "reject", "old", "stranger", "number"], [80, 8, 6, 3, 2, 1]
        )[0]
        if kind == "copy" and not events:
            kind = "event"
        match kind:
            case "event":
                message = event(choose.choice("abc"))
                events.append(message)
                expected["stored"] += 1
            case "copy":
                message = choose.choice(events)
                expected["duplicate"] += 1
            case "reject":
                message = reject(Code.INVALID_EVENT, b"{}")
                expected["dead_lettered"] += 1
            case "old":
                message = event(time=1)
                expected["dead_lettered"] += 1
            case "number":
                message = event(properties='{"a":1e999999}')
                expected["dead_lettered"] += 1
            case _:
                message = Message(b"stranger", [])
                expected["skipped"] += 1
        log.append(message)
    return log, expected


async def check(world: World, pipeline: Pipeline, expected: Counter[str]) -> None:
    """Ledger, rows, letters and live counters say the same."""
    assert await world.settled(pipeline, expected["offsets"], within=40) == expected
    await world.counted(pipeline)
    await world.check_audit(pipeline)
    assert len(await world.rows(pipeline)) == expected["stored"]
    keys = {letter.key for letter in await world.letters(pipeline)}
    assert len(keys) == expected["dead_lettered"]


async def test_cancelled_anywhere_and_started_again_it_loses_and_doubles_nothing(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    log, expected = mixture(6_000, seed=1)
    choose = random.Random(2)
    producing = asyncio.create_task(world.produce(pipeline, log))
    for _ in range(12):
        await world.killed(after=choose.uniform(0.1, 0.9))
    await producing
    async with world.stream():
        await check(world, pipeline, expected)


async def test_killed_processes_lose_and_double_nothing(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    log, expected = mixture(12_000, seed=3)
    choose = random.Random(4)
    for number in range(4):
        await world.produce(pipeline, log[number * 3_000 : (number + 1) * 3_000])
        async with process(world):
            before = (await world.ledger(pipeline))["offsets"]

            async def moved(before: int = before) -> bool:
                return (await world.ledger(pipeline))["offsets"] > before

            await until(moved, 20, "the process stores", every=0.005)
            await asyncio.sleep(choose.uniform(0, 0.3))
    async with process(world):
        await check(world, pipeline, expected)


async def members(world: World) -> set[object]:
    return {row["id"] for row in await world.sql.fetch("SELECT id FROM argus.members")}


async def test_sigterm_finishes_the_batch_commits_and_leaves(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    before = await members(world)
    async with process(world) as running:
        await world.produce(pipeline, [event() for _ in range(2_000)])
        await world.settled(pipeline, 1)
        assert len(await members(world) - before) == 1
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 10) == 0
    stored = (await world.ledger(pipeline))["offsets"]
    assert await world.committed(pipeline) == stored
    assert not await members(world) - before


async def test_the_ops_port_says_that_it_lives_and_what_it_did(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with process(world, ARGUS_OPS__PORT=str(port)):
        await world.produce(pipeline, [event() for _ in range(3)])
        await world.settled(pipeline, 3)
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (200, "ok\n")
        status, metrics = await get(port, "/metrics")
    assert status == 200
    assert 'argus_stream_records_total{outcome="stored"} 3.0' in metrics


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET on 127.0.0.1."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_two_processes_share_the_partitions_and_hand_them_over(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=MANY)
    log, expected = mixture(8_000, seed=5)
    await world.produce(pipeline, log[:2_000])
    async with world.stream() as first:
        await world.settled(pipeline, 1)
        async with world.stream() as second:

            async def shared() -> bool:
                mine, yours = set(first.held), set(second.held)
                return mine.isdisjoint(yours) and len(mine | yours) == MANY > len(mine) > 0

            await world.produce(pipeline, log[2_000:4_000])
            await until(shared, 10, "each holds some of the partitions, none of them twice")
            await world.produce(pipeline, log[4_000:6_000])
        await world.produce(pipeline, log[6_000:])

        async def alone() -> bool:
            return len(first.held) == MANY

        await until(alone, 5, "the one that stays holds all")
        await check(world, pipeline, expected)


async def test_the_partitions_of_a_dead_process_are_taken_over(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=MANY)
    async with world.stream() as service:
        async with process(world) as dying:

            async def shared() -> bool:
                return 0 < len(service.held) < MANY

            await until(shared, 20, "the other process has a share")
            dying.kill()
        await world.produce(pipeline, [event() for _ in range(400)])
        ledger = await world.settled(pipeline, 400, within=10)
    assert ledger["stored"] == 400


async def test_a_zombie_is_fenced_and_nothing_of_its_batch_is_stored(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event() for _ in range(10)])
    async with world.stream():
        await world.settled(pipeline, 10)
    zombie = TimescaleStore(storing_options(world.settings()))
    source = Source(pipeline.topic, 0)
    lease = Lease(source, Route(world.document, pipeline), 5)
    try:
        piece = Slice(lease, 5, 5)
        piece.skip_to(8)
        with pytest.raises(FencedError) as fenced:
            await zombie.store([piece])
        assert fenced.value.source == source
    finally:
        zombie.discard()
    assert (await world.ledger(pipeline))["skipped"] == 0


async def test_a_frozen_process_that_wakes_up_does_no_harm(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    async with process(world) as frozen:
        await world.produce(pipeline, [event() for _ in range(3_000)])
        await world.settled(pipeline, 1)
        frozen.send_signal(signal.SIGSTOP)
        try:
            async with world.stream():
                await world.produce(pipeline, [event() for _ in range(3_000)])
                ledger = await world.settled(pipeline, 6_000, within=20)
                frozen.send_signal(signal.SIGCONT)
                await world.produce(pipeline, [event(received=micros()) for _ in range(1_000)])
                ledger = await world.settled(pipeline, 7_000, within=20)
                assert (ledger["stored"], ledger["duplicate"]) == (7_000, 0)
                await world.counted(pipeline)
        finally:
            frozen.send_signal(signal.SIGCONT)
    await world.check_audit(pipeline)
