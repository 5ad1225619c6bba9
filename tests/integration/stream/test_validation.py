"""JSON Schemas of events, from the registry to rows and letters."""

import asyncio

import msgspec
from argus_contract import headers
from argus_contract.registry import EventSchema, Pipeline, Validation
from prometheus_client import REGISTRY

from tests.integration.stream.test_replays import again, outcomes
from tests.integration.stream.world import World, event, until

SCHEMA = '{"properties":{"age":{"type":"integer"}},"required":["age"],"type":"object"}'
GOOD, BAD = '{"age":3}', '{"age":"secret"}'


async def publish(
    world: World, pipeline: Pipeline, schema: str = SCHEMA, *, enforce: bool = True
) -> Pipeline:
    """The pipeline with this schema of `signup`, as the operator tells the stream."""
    validation = Validation(enforce, (EventSchema("signup", schema),))
    told = msgspec.structs.replace(pipeline, validation=validation)
    world.pipelines[pipeline.name] = told
    await world.publish()
    return told


def counted(world: World, pipeline: Pipeline) -> float:
    """How many events did not fit, as the metric has it."""
    labels = {"tenant": f"{world.namespace}/shop", "pipeline": pipeline.name, "event": "signup"}
    return REGISTRY.get_sample_value("argus_stream_schema_mismatches_total", labels) or 0.0


async def test_what_does_not_fit_is_a_letter_that_says_where(world: World) -> None:
    pipeline = await publish(world, await world.add_pipeline("web"))
    log = [
        event("signup", properties=GOOD),
        event("signup", properties=BAD),
        event("signup", properties="null"),
        event("login", properties=BAD),
    ]
    async with world.stream():
        await world.produce(pipeline, log)
        ledger = await world.settled(pipeline, 4)
        assert (ledger["stored"], ledger["dead_lettered"]) == (2, 2)
        await world.counted(pipeline)
    letters = [dict(letter.headers) for letter in await world.letters(pipeline)]
    assert [(each[headers.REASON], each[headers.STEP]) for each in letters] == [
        (b"schema", b"decode"),
        (b"schema", b"decode"),
    ]
    assert letters[0][headers.ERROR] == b'/properties/age: it is not of type "integer"'
    assert letters[1][headers.ERROR] == b'/properties: "age" is a required property'
    assert counted(world, pipeline) == 2
    await world.check_audit(pipeline)


async def test_an_observing_pipeline_stores_and_counts(world: World) -> None:
    pipeline = await publish(world, await world.add_pipeline("web"), enforce=False)
    async with world.stream():
        await world.produce(pipeline, [event("signup", properties=BAD)])
        ledger = await world.settled(pipeline, 1)
        assert (ledger["stored"], ledger["dead_lettered"]) == (1, 0)
    assert counted(world, pipeline) == 1
    await world.check_audit(pipeline)


async def test_a_letter_is_stored_once_after_its_schema_was_mended(world: World) -> None:
    """While the stream runs: it hears of the other schema, and tries again what is replayed."""
    pipeline = await publish(world, await world.add_pipeline("web"))
    bad = event("signup", properties=BAD)
    async with world.stream():
        await world.produce(pipeline, [bad])
        assert (await world.settled(pipeline, 1))["dead_lettered"] == 1
        await world.produce(pipeline, [again(bad, pipeline, 0, 2)])
        assert (await world.settled(pipeline, 2))["dead_lettered"] == 2
        await publish(world, pipeline, '{"type":"object"}')

        tried = 2

        async def heard() -> bool:
            nonlocal tried
            await world.produce(pipeline, [event("signup", properties=BAD)])
            tried += 1
            return (await world.settled(pipeline, tried))["stored"] > 0

        await until(heard, 20, "the stream judging by the mended schema", every=0.2)
        replay = again(bad, pipeline, 0, 3)
        await world.produce(pipeline, [replay, replay])
        ledger = await world.settled(pipeline, tried + 2)
        assert (ledger["stored"], ledger["duplicate"]) == (2, 1)
    assert (await outcomes(world, pipeline))["0/0"] == (3, "stored")
    await world.check_audit(pipeline)


async def test_another_pipeline_stores_while_one_has_a_schema_that_is_none(world: World) -> None:
    """What another release might write there: its events are stored unjudged, and it is logged."""
    web = await publish(world, await world.add_pipeline("web"), '{"type":"strin"}')
    other = await world.add_pipeline("other")
    async with world.stream():
        await asyncio.gather(
            world.produce(web, [event("signup", properties=BAD)]),
            world.produce(other, [event("signup", properties=BAD)]),
        )
        assert (await world.settled(web, 1))["stored"] == 1
        assert (await world.settled(other, 1))["stored"] == 1
