"""Dead letters replayed through the real log, stream and database."""

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import typer
from argus_cli import books, listing, replaying
from argus_cli.database import Database
from argus_cli.errors import BlockedError
from argus_cli.ledger import Verdict
from argus_cli.letters import Filter
from argus_cli.log import Log
from argus_cli.replay import Counts, Options
from argus_cli.scope import Name, Scope
from argus_cli.settings import Settings
from argus_contract import headers
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_contract.times import SECOND
from rich.console import Console

from tests.integration.stream.world import DAY, Message, World, event, micros, reject

HOUR = 3_600
OLD = 2 * DAY
KILLS = 3
GONE = b'{"event":"signup","colour":"red"}'

pytestmark = pytest.mark.timeout(180)


def old(number: int) -> Message:
    """An event that a window of an hour does not take."""
    return event("click", time=micros() - OLD * SECOND - number)


async def narrow(world: World) -> Pipeline:
    """A pipeline whose table would take what its window of an hour does not."""
    made = await world.add_pipeline("web", partitions=2, window=30 * DAY)
    return await widen(world, made, HOUR)


async def widen(world: World, pipeline: Pipeline, window: int) -> Pipeline:
    """The pipeline with another window, for everybody who reads the registry."""
    changed = msgspec.structs.replace(pipeline, window=window)
    world.pipelines[pipeline.name] = changed
    await world.publish()
    return changed


async def replay(
    world: World,
    settings: Settings,
    console: Console,
    *,
    chosen: Filter | None = None,
    dry: bool = False,
    asks: bool = False,
    report: Path | None = None,
    **options: object,
) -> Counts:
    request = replaying.Request(
        scope=Scope(pipeline=Name(world.namespace, "web")),
        filter=chosen or Filter(),
        options=Options(**({"rate": 0, "wait": 20} | options)),  # type: ignore[arg-type]
        dry=dry,
        asks=asks,
        report=report,
    )
    return await replaying.replay(settings, console, request)


async def log_end(world: World, records: Log, pipeline: Pipeline) -> int:
    wanted = [(pipeline.topic, partition) for partition in range(pipeline.partitions)]
    return sum((await records.ends(wanted)).values())


async def audited(world: World, view: Database, records: Log) -> None:
    """Rows and letters, counted apart, agree with the ledger."""
    [found] = await books.gather(view, records, world.namespace, "shop")
    assert [check for check in found.checks() if not check.holds] == []
    assert found.verdict is Verdict.BALANCED


async def test_what_a_wider_window_takes_is_stored_once_and_a_second_run_publishes_nothing(
    world: World,
    settings: Settings,
    console: Console,
    view: Database,
    records: Log,
    tmp_path: Path,
) -> None:
    pipeline = await narrow(world)
    mistakes = [reject(Code.UNKNOWN_FIELD, GONE) for _ in range(5)]
    await world.produce(pipeline, [event() for _ in range(20)])
    await world.produce(pipeline, [*map(old, range(10)), *mistakes])
    async with world.stream():
        ledger = await world.settled(pipeline, 35)
        assert (ledger["stored"], ledger["dead_lettered"]) == (20, 15)

        before = await replay(world, settings, console)
        assert (before.replayed, before.refused) == (0, {"too_old": 10, "unknown_field": 5})
        pipeline = await widen(world, pipeline, 30 * DAY)
    async with world.stream():
        first = await replay(world, settings, console, report=tmp_path / "report")
        assert (first.matched, first.replayed, first.stored) == (15, 10, 10)
        assert first.refused == {"unknown_field": 5}
        end = await log_end(world, records, pipeline)
        assert end == 45

        second = await replay(world, settings, console)

    assert (second.matched, second.settled, second.replayed) == (15, 10, 0)
    assert await log_end(world, records, pipeline) == end
    assert len(await world.rows(pipeline)) == 30
    assert await world.ledger(pipeline) == Counter(stored=30, dead_lettered=15, offsets=45)
    await audited(world, view, records)
    document = json.loads((tmp_path / "report").read_text())
    assert document | {"message": ""} == {
        "matched": 15,
        "passing": 10,
        "replayed": 10,
        "stored": 10,
        "duplicate": 0,
        "failed": 0,
        "refused": {"unknown_field": 5},
        "settled": 0,
        "skipped": 0,
        "message": "",
    }


async def test_what_the_edge_refused_and_takes_now_is_stored_with_its_own_time_of_receipt(
    world: World, settings: Settings, console: Console, view: Database, records: Log
) -> None:
    pipeline = await narrow(world)
    raw = b'{"event":"signup","distinct_id":"me","properties":{"plan":"free"}}'
    lost = reject(Code.INVALID_EVENT, raw)
    await world.produce(pipeline, [lost])
    async with world.stream():
        await world.settled(pipeline, 1)

        counts = await replay(world, settings, console)

    [row] = await world.rows(pipeline)
    assert counts.stored == 1
    assert (row["event"], row["distinct_id"]) == ("signup", "me")
    assert str(row["id"]).encode() == headers.get(lost.headers, headers.ID)
    received = int(headers.get(lost.headers, headers.RECEIVED) or 0)
    assert round(row["received_at"].timestamp() * SECOND) == received
    await audited(world, view, records)


async def test_what_is_refused_again_is_a_second_attempt_and_listed_as_such(
    world: World,
    settings: Settings,
    console: Console,
    view: Database,
    records: Log,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [reject(Code.UNKNOWN_FIELD, GONE), old(1)], partition=0)
    async with world.stream():
        await world.settled(pipeline, 2)
        first = await replay(world, settings, console, unchecked=True)
        skipped = await replay(world, settings, console, unchecked=True)
        again = await replay(world, settings, console, unchecked=True, again=True)

    assert (first.replayed, first.failed) == (2, 2)
    assert (skipped.replayed, skipped.skipped) == (0, 2)
    assert (again.replayed, again.failed) == (2, 2)
    found = [
        (headers.get(one.headers, headers.ATTEMPT), headers.get(one.headers, headers.ROOT))
        for one in await world.letters(pipeline)
    ]
    roots = [f"{pipeline.topic}/0/{offset}".encode() for offset in (0, 1)]
    assert found[:2] == [(b"1", None), (b"1", None)]
    assert sorted(found[2:]) == [(attempt, root) for attempt in (b"2", b"3") for root in roots]
    await listing.ls(settings, console, Scope(), Filter(), 0, json=True)
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((one["attempt"], one["root"].encode()) for one in listed) == [
        (3, root) for root in roots
    ]
    assert {one["settled"] for one in listed} == {"dead_lettered"}
    await audited(world, view, records)


async def test_a_dry_run_publishes_nothing_and_says_what_would_pass(
    world: World, settings: Settings, console: Console, records: Log
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(1), old(2), reject(Code.UNKNOWN_FIELD, GONE)])
    async with world.stream():
        await world.settled(pipeline, 3)
    await widen(world, pipeline, 30 * DAY)

    counts = await replay(world, settings, console, dry=True)

    assert (counts.matched, counts.passing, counts.replayed) == (3, 2, 0)
    assert counts.refused == {"unknown_field": 1}
    assert await log_end(world, records, pipeline) == 3


async def test_nothing_is_published_while_the_log_is_not_read(
    world: World, settings: Settings, console: Console, records: Log, tmp_path: Path
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(1)])
    async with world.stream():
        await world.settled(pipeline, 1)
    await widen(world, pipeline, 30 * DAY)
    await world.produce(pipeline, [event(), event()])

    with pytest.raises(BlockedError, match=r"/web: 2 records of its log were not read"):
        await replay(world, settings, console, wait=0.3, report=tmp_path / "report")

    assert await log_end(world, records, pipeline) == 3
    document = json.loads((tmp_path / "report").read_text())
    assert (document["replayed"], "argus ledger" in document["message"]) == (0, True)


async def test_a_stream_that_stops_in_the_middle_leaves_the_rest_to_the_next_run(
    world: World, settings: Settings, console: Console, view: Database, records: Log
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(number) for number in range(30)])
    async with world.stream():
        await world.settled(pipeline, 30)
    await widen(world, pipeline, 30 * DAY)

    first = await replay(world, settings, console, wait=0.5)
    async with world.stream():
        second = await replay(world, settings, console)

    assert (first.replayed, first.unsettled) == (30, 30)
    assert (second.replayed, second.settled) == (0, 30)
    assert len(await world.rows(pipeline)) == 30
    await audited(world, view, records)


async def test_who_is_asked_and_says_no_publishes_nothing(
    world: World,
    settings: Settings,
    console: Console,
    records: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(1), old(2)])
    async with world.stream():
        await world.settled(pipeline, 2)
    await widen(world, pipeline, 30 * DAY)
    asked = []

    def no(question: str, *, abort: bool) -> None:
        asked.append(question)
        assert abort
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", no)

    with pytest.raises(typer.Abort):
        await replay(world, settings, console, asks=True)

    assert await log_end(world, records, pipeline) == 2
    assert "2 would pass now. Publish 2 at once?" in asked[0]


async def test_only_what_the_filter_takes_is_replayed(
    world: World, settings: Settings, console: Console
) -> None:
    pipeline = await narrow(world)
    other = event("page_view", time=micros() - OLD * SECOND)
    await world.produce(pipeline, [old(1), old(2), other])
    async with world.stream():
        await world.settled(pipeline, 3)
        await widen(world, pipeline, 30 * DAY)
    async with world.stream():
        chosen = Filter(reasons=frozenset({"too_old"}), events=("page_*",))
        counts = await replay(world, settings, console, chosen=chosen)

    assert (counts.matched, counts.stored) == (1, 1)
    assert [row["event"] for row in await world.rows(pipeline)] == ["page_view"]


async def test_two_runs_at_once_store_everything_once(
    world: World, settings: Settings, console: Console, view: Database, records: Log
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(number) for number in range(300)])
    async with world.stream():
        await world.settled(pipeline, 300)
        await widen(world, pipeline, 30 * DAY)
    async with world.stream():
        both = await asyncio.gather(*(replay(world, settings, console) for _ in range(2)))
        await world.settled(pipeline, 300 + sum(one.replayed for one in both))

    assert len(await world.rows(pipeline)) == 300
    assert sum(one.unsettled for one in both) == 0
    assert sum(one.failed for one in both) == 0
    await audited(world, view, records)


async def test_a_run_that_is_killed_and_run_again_neither_loses_nor_doubles(
    world: World, settings: Settings, view: Database, records: Log
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(number) for number in range(120)])
    async with world.stream():
        await world.settled(pipeline, 120)
        await widen(world, pipeline, 30 * DAY)
    dice = random.Random(os.environ.get("SEED", "1"))
    async with world.stream():
        for _ in range(KILLS):
            end = await log_end(world, records, pipeline) + dice.randint(1, 10)
            async with _run(world, "--rate", "10") as run:
                while await log_end(world, records, pipeline) < end:
                    assert run.returncode is None
                    await asyncio.sleep(0.02)
                run.kill()
        async with _run(world, "--rate", "0") as run:
            assert await run.wait() == 0
        await world.settled(pipeline, await log_end(world, records, pipeline))

    ledger = await world.ledger(pipeline)
    assert (ledger["stored"], ledger["dead_lettered"], ledger["duplicate"]) == (120, 120, 0)
    assert len(await world.rows(pipeline)) == 120
    await audited(world, view, records)


async def test_a_run_that_is_terminated_says_so_and_leaves_its_counts(
    world: World, records: Log, tmp_path: Path
) -> None:
    pipeline = await narrow(world)
    await world.produce(pipeline, [old(number) for number in range(120)])
    async with world.stream():
        await world.settled(pipeline, 120)
        await widen(world, pipeline, 30 * DAY)
    report = tmp_path / "report"
    async with world.stream():
        async with _run(world, "--rate", "10", "--report", str(report)) as run:
            while await log_end(world, records, pipeline) == 120:
                assert run.returncode is None
                await asyncio.sleep(0.02)
            run.terminate()
            assert await run.wait() == 143
        published = await log_end(world, records, pipeline) - 120
        await world.settled(pipeline, 120 + published)

    document = json.loads(report.read_text())
    assert 0 < published < 120
    assert document["replayed"] <= published
    assert "run it again" in document["message"]


@asynccontextmanager
async def _run(world: World, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`argus dlq replay` in a process of its own, which is dead afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from argus_cli.main import main; main()"),
        *("dlq", "replay", "--wait", "30", "--yes", *options),
        env=os.environ
        | {
            "ARGUS_KAFKA": world.bootstrap,
            "ARGUS_DATABASE_URL": world.database,
            "ARGUS_REGISTRY_TOPIC": world.registry_topic,
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
