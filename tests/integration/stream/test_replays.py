"""Dead letters that are tried again, as `argus dlq replay` publishes them."""

from argus_contract import headers
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code

from tests.integration.stream.world import Message, World, event, reject


def again(message: Message, pipeline: Pipeline, offset: int, attempt: int) -> Message:
    """The record that a replay publishes for the letter of `offset`."""
    root = headers.letter_key(pipeline.topic, 0, offset)
    marks = [(headers.REPLAY_OF, root), (headers.ATTEMPT, str(attempt).encode())]
    return Message(message.value, [*message.headers, *marks])


async def outcomes(world: World, pipeline: Pipeline) -> dict[str, tuple[int, str]]:
    """What argus.replays says, by root without its topic."""
    rows = await world.sql.fetch(
        "SELECT root, attempt, outcome FROM argus.replays WHERE topic = $1", pipeline.topic
    )
    prefix = f"{pipeline.topic}/"
    return {row["root"].removeprefix(prefix): (row["attempt"], row["outcome"]) for row in rows}


async def test_a_replay_that_is_valid_now_is_stored_once_and_settled(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT bound CHECK (event <> 'poison')")
    poison = event("poison")
    async with world.stream():
        await world.produce(pipeline, [event(), poison])
        ledger = await world.settled(pipeline, 2)
        assert (ledger["stored"], ledger["dead_lettered"]) == (1, 1)
        await world.sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT bound")
        await world.produce(pipeline, [again(poison, pipeline, 1, 2)])
        ledger = await world.settled(pipeline, 3)
        assert (ledger["stored"], ledger["duplicate"], ledger["dead_lettered"]) == (2, 0, 1)
        assert await outcomes(world, pipeline) == {"0/1": (2, "stored")}
        await world.produce(pipeline, [again(poison, pipeline, 1, 2)])
        ledger = await world.settled(pipeline, 4)
        assert (ledger["stored"], ledger["duplicate"]) == (2, 1)
        assert await outcomes(world, pipeline) == {"0/1": (2, "stored")}
        await world.counted(pipeline)
    await world.check_audit(pipeline)


async def test_a_replay_that_fails_again_is_a_letter_with_its_root_and_attempt(
    world: World,
) -> None:
    """Though its id is that of the first letter; a copy of the same attempt is none."""
    pipeline = await world.add_pipeline("web")
    old = event(time=1)
    raw = reject(Code.INVALID_EVENT, b'{"oops":1}')
    tries = [again(old, pipeline, 0, 2), again(raw, pipeline, 1, 2)]
    async with world.stream():
        await world.produce(pipeline, [old, raw])
        assert (await world.settled(pipeline, 2))["dead_lettered"] == 2
        await world.produce(pipeline, tries)
        assert (await world.settled(pipeline, 4))["dead_lettered"] == 4
        await world.produce(pipeline, tries)
        ledger = await world.settled(pipeline, 6)
        assert (ledger["dead_lettered"], ledger["duplicate"]) == (4, 2)
        await world.produce(pipeline, [again(old, pipeline, 0, 3)])
        assert (await world.settled(pipeline, 7))["dead_lettered"] == 5
    letters = [dict(letter.headers) for letter in await world.letters(pipeline)]
    assert [(each.get(headers.ROOT), each[headers.ATTEMPT]) for each in letters] == [
        (None, b"1"),
        (None, b"1"),
        (headers.letter_key(pipeline.topic, 0, 0), b"2"),
        (headers.letter_key(pipeline.topic, 0, 1), b"2"),
        (headers.letter_key(pipeline.topic, 0, 0), b"3"),
    ]
    assert {each[headers.ID] for each in letters} == {
        dict(old.headers)[headers.ID],
        dict(raw.headers)[headers.ID],
    }
    assert await outcomes(world, pipeline) == {
        "0/0": (3, "dead_lettered"),
        "0/1": (2, "dead_lettered"),
    }
    await world.check_audit(pipeline)


async def test_replay_headers_that_a_stranger_wrote_replay_nothing(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    other = await world.add_pipeline("other")
    wrong = [
        again(event(), other, 0, 2),
        again(event(), pipeline, 0, 0),
        Message(event().value, [*event().headers, (headers.REPLAY_OF, b"\xff\x00")]),
        Message(event().value, [*event().headers, (headers.ATTEMPT, b"2")]),
    ]
    await world.produce(pipeline, wrong)
    async with world.stream():
        assert (await world.settled(pipeline, len(wrong)))["stored"] == len(wrong)
    assert await outcomes(world, pipeline) == {}
