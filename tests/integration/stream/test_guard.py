"""A table that refuses most records stops the dead-lettering of its pipeline, and of no other."""

import asyncio

import pytest
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_stream.service import Service
from argus_stream.settings import GuardSettings

from tests.integration.stream.world import Message, World, event, reject, until

GUARD = GuardSettings(window=100, least=10, run=10, probe=1.0)


async def state(world: World, pipeline: Pipeline) -> tuple[str, str | None]:
    """What SQL says of the pipeline's only partition, if it says anything."""
    row = await world.sql.fetchrow(
        "SELECT state, reason FROM argus.partition_states WHERE topic = $1", pipeline.topic
    )
    return ("unknown", None) if row is None else (row["state"], row["reason"])


async def stands(world: World, pipeline: Pipeline, expected: str, within: float = 5) -> str:
    """Returns the reason once SQL says that the pipeline's partition is in this state."""

    async def reported() -> bool:
        return (await state(world, pipeline))[0] == expected

    await until(reported, within, f"{pipeline.name} is reported {expected}")
    return (await state(world, pipeline))[1] or ""


async def test_it_trips_says_so_and_is_released_once_the_table_is_repaired(world: World) -> None:
    guarded = await world.add_pipeline("guarded")
    healthy = await world.add_pipeline("healthy")
    table = f"{guarded.schema}.{guarded.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT wrong CHECK (value > 0)")
    await world.produce(guarded, [event(value=-1.0) for _ in range(1_000)])
    async with world.stream(world.settings(guard=GUARD)) as service:
        reason = await stands(world, guarded, "guarded", within=60)
        assert "10 records in a row were refused" in reason
        assert "wrong" in reason, "the database's own words name the constraint"
        assert "tried every 1 s" in reason
        lettered = (await world.ledger(guarded))["dead_lettered"]
        assert lettered == 9
        for number in range(1, 6):
            await world.produce(healthy, [event() for _ in range(10)])
            await world.settled(healthy, 10 * number, within=2)
            await asyncio.sleep(0.3)
        assert (await world.ledger(guarded))["offsets"] == lettered, "probes store nothing"
        assert len(await world.letters(guarded)) == lettered
        assert service.states["guarded"] == 1
        await world.sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT wrong")
        ledger = await world.settled(guarded, 1_000, within=10)
        assert (ledger["stored"], ledger["dead_lettered"]) == (1_000 - lettered, lettered)
        await stands(world, guarded, "open")
        await world.counted(guarded)
    await world.check_audit(guarded)


async def test_it_goes_on_where_most_records_pass_again(world: World) -> None:
    """The trigger refuses less than the ratio: what is refused then is the records' own fault."""
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT wrong CHECK (value > 9)")
    await world.produce(pipeline, [event(value=float(n % 10)) for n in range(500)])
    async with world.stream(world.settings(guard=GUARD)):
        await stands(world, pipeline, "guarded", within=60)
        async with world.sql.acquire() as connection, connection.transaction():
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT wrong")
            await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT less CHECK (value > 0)")
        ledger = await world.settled(pipeline, 500, within=60)
        assert ledger["dead_lettered"] >= 48
        await stands(world, pipeline, "open")
    await world.check_audit(pipeline)


async def test_one_poison_record_at_the_head_does_not_keep_the_guard_up(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT wrong CHECK (value > 0)")
    first_waiting = GUARD.run - 1
    values = [-1.0] * first_waiting + [-7.0] + [-1.0] * 50
    await world.produce(pipeline, [event(value=value) for value in values])
    async with world.stream(world.settings(guard=GUARD)):
        await stands(world, pipeline, "guarded", within=60)
        async with world.sql.acquire() as connection, connection.transaction():
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT wrong")
            await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT odd CHECK (value <> -7)")
        ledger = await world.settled(pipeline, len(values), within=10)
        assert (ledger["stored"], ledger["dead_lettered"]) == (50, first_waiting + 1)


async def test_the_reason_says_nothing_of_what_was_in_the_row(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT wrong CHECK (value > 0)")
    private = '{"mail":"ada@example.org"}'
    await world.produce(pipeline, [event(value=-1.0, properties=private) for _ in range(20)])
    async with world.stream(world.settings(guard=GUARD)):
        reason = await stands(world, pipeline, "guarded", within=60)
        assert "wrong" in reason
        assert "ada@example.org" not in reason
        assert all(
            b"ada@example.org" not in dict(letter.headers)["argus-error"]
            for letter in await world.letters(pipeline)
        )


def by_client(number: int) -> Message:
    """One of the ways in which a client, or what it sends, can be wrong."""
    kinds = (
        lambda: event(time=1),
        lambda: event(properties='{"a":"\\u0000"}'),
        lambda: event(properties='{"a":"\\ud800"}'),
        lambda: event(properties='{"a":1e999999}'),
        lambda: event(properties='{"a":-1e-99999}'),
        lambda: event("\0"),
        lambda: event("x" * 300),
        lambda: reject(Code.INVALID_JSON, b"{"),
        lambda: reject(Code.TOO_LARGE, b"x" * 1_000),
        lambda: reject(Code.REFUSED, b"claims to be ours"),
        lambda: reject(Code.INTERNAL, b"claims to be ours"),
        lambda: event(properties='{"a":' + "[" * 5_000 + "]" * 5_000 + "}"),
    )
    return kinds[number % len(kinds)]()


@pytest.mark.parametrize("shape", ["nothing else", "among good ones"])
async def test_nothing_that_a_client_sends_trips_it(world: World, shape: str) -> None:
    pipeline = await world.add_pipeline("web")
    strict = GuardSettings(window=10, least=1, run=1, ratio=0.01)
    bad = [by_client(number) for number in range(6_000)]
    good = [] if shape == "nothing else" else [event() for _ in range(600)]
    messages = [*bad, *good]
    if good:
        messages = [
            m for n, m in enumerate(bad) for m in ([m, good[n // 10]] if n % 10 == 0 else [m])
        ]
    await world.produce(pipeline, messages)
    async with world.stream(world.settings(guard=strict)) as service:
        ledger = await world.settled(pipeline, len(messages), within=60)
        never_guarded(service)
        await stands(world, pipeline, "open")
    assert (ledger["stored"], ledger["dead_lettered"]) == (len(good), len(bad))


def never_guarded(service: Service) -> None:
    assert service.states["guarded"] == 0
