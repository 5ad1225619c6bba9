"""Dead letters listed and shown, from a real topic."""

import json

import pytest
from argus_cli import listing
from argus_cli.errors import UnknownError
from argus_cli.letters import Filter, Key
from argus_cli.scope import Name, Scope
from argus_cli.settings import Settings
from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from rich.console import Console

from tests.integration.cli.conftest import Printed
from tests.integration.stream.world import World, event, reject

RAW = '{"event":"clíck","\x07":1}'.encode()


@pytest.fixture
async def pipeline(world: World) -> Pipeline:
    """A pipeline with five letters of two reasons, and a row."""
    made = await world.add_pipeline("web")
    mistakes = [reject(Code.TOO_DEEP, b"[%d" % number) for number in range(3)]
    await world.produce(made, [*mistakes, reject(Code.UNKNOWN_FIELD, RAW, error="no such field")])
    await world.produce(made, [reject(Code.INVALID_JSON, b"\xff\x00"), event()])
    async with world.stream():
        await world.settled(made, 6)
    return made


async def test_letters_are_listed_and_counted_by_reason(
    world: World, pipeline: Pipeline, settings: Settings, console: Console, printed: Printed
) -> None:
    scope = Scope(tenant=Name(world.namespace, "shop"))

    await listing.ls(settings, console, scope, Filter(), 2, json=False)

    lines = [line.split() for line in printed().splitlines()]
    assert lines[0][0] == f"{world.namespace}/web,"
    assert "the newest 2 of 5" in printed()
    assert [line[2] for line in lines if line and line[0].startswith("20")] == [
        "unknown_field",
        "invalid_json",
    ]
    assert ["too_deep", "3", "0"] in lines
    assert ["all", "5", "0"] in lines


async def test_letters_are_listed_as_lines_of_json(
    pipeline: Pipeline, settings: Settings, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Filter(reasons=frozenset({"too_deep"}))

    await listing.ls(settings, console, Scope(), chosen, 0, json=True)

    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["key"] for one in listed] == [f"{pipeline.topic}/0/{offset}" for offset in range(3)]
    assert {one["settled"] for one in listed} == {None}


async def test_without_a_database_letters_are_listed_all_the_same(
    pipeline: Pipeline, settings: Settings, console: Console, printed: Printed
) -> None:
    alone = settings.model_copy(update={"database_url": None})

    await listing.ls(alone, console, Scope(), Filter(), 50, json=False)

    assert "too_deep" in printed()
    assert "ARGUS_DATABASE_URL is not set" in printed()


async def test_no_letters_are_said_to_be_none(
    pipeline: Pipeline, settings: Settings, console: Console, printed: Printed
) -> None:
    await listing.ls(settings, console, Scope(), Filter(events=("nothing",)), 50, json=False)

    assert "There are no such dead letters." in printed()


async def test_a_letter_is_shown_in_full_with_its_bytes(
    pipeline: Pipeline,
    settings: Settings,
    console: Console,
    printed: Printed,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    key = Key(pipeline.topic, 0, 3)

    await listing.show(settings, console, key, raw=False)
    await listing.show(settings, console, key, raw=True)

    text = printed()
    for said in (str(key), "unknown_field", "no such field", "ingest", "argus-received", "settled"):
        assert said in text
    assert '{"event":"clíck","\\x07":1}' in text
    assert capfdbinary.readouterr().out == RAW


async def test_bytes_that_are_no_text_are_said_to_be_none(
    pipeline: Pipeline, settings: Settings, console: Console, printed: Printed
) -> None:
    await listing.show(settings, console, Key(pipeline.topic, 0, 4), raw=False)

    assert "2 bytes that are no text" in printed()


@pytest.mark.parametrize("offset", [5, 77])
async def test_a_letter_that_is_not_there_is_said(
    pipeline: Pipeline, settings: Settings, console: Console, offset: int
) -> None:
    with pytest.raises(UnknownError, match=f"/0/{offset}"):
        await listing.show(settings, console, Key(pipeline.topic, 0, offset), raw=False)
    with pytest.raises(UnknownError, match="nowhere"):
        await listing.show(settings, console, Key("nowhere", 0, 1), raw=False)


async def test_a_letter_is_found_in_a_topic_that_another_named(
    world: World, settings: Settings, console: Console, printed: Printed
) -> None:
    letters = TopicName(f"letters-of-{world.namespace}")
    made = await world.add_pipeline("web", letters=letters)
    await world.produce(made, [reject(Code.UNKNOWN_FIELD, RAW, error="no such field")])
    async with world.stream():
        await world.settled(made, 1)

    await listing.show(settings, console, Key(made.topic, 0, 0), raw=False)

    assert "no such field" in printed()
