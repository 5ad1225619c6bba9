"""Forced deletion: an engine that is gone for good holds nothing up; what it kept is named."""

import pytest
from argus_contract import names
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash.scenarios import DELETE, RETAIN, delete_both
from tests.integration.operator.crash.tripwire import Engine
from tests.integration.operator.stage import RETRY_S, Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

ENGINES = pytest.mark.parametrize("engine", [Engine.KAFKA, Engine.POSTGRES, Engine.REDIS])


async def force(stage: Stage, value: str = "true") -> None:
    """Asks that both be let go whatever is away."""
    for plural, name in ((TENANTS, SHOP), (PIPELINES, WEB)):
        await stage.annotate(plural, name, **{"force-delete": value})


async def look(stage: Stage) -> None:
    """What the operator does within a few seconds."""
    for _ in range(4):
        await stage.look()
        await stage.pass_time(RETRY_S)


async def there(stage: Stage) -> list[str]:
    """Which of both are there."""
    both = ((TENANTS, SHOP), (PIPELINES, WEB))
    return [name for plural, name in both if await stage.object(plural, name) is not None]


@ENGINES
async def test_what_is_forced_goes_without_the_engine_that_is_away(
    stage: Stage, engine: Engine
) -> None:
    await DELETE(stage)
    await stage.settle()
    await stage.count(WEB)
    id_, topic, uid = await stage.id(), await stage.topic(), await stage.uid(PIPELINES, WEB)
    stage.wire.take_away(engine)
    await delete_both(stage)
    await look(stage)
    assert WEB in await there(stage)
    await force(stage)
    await look(stage)
    assert not await there(stage)
    stage.wire.take_away(None)
    await stage.settle()

    left = engine is Engine.KAFKA, engine is Engine.POSTGRES, engine is Engine.REDIS
    both = {topic, names.dead_letter_topic(topic)}
    assert set(await stage.topics()) == (both if left[0] else set())
    assert ((await stage.tables(uid)).events_table is not None) is left[1]
    assert (id_ in await stage.tenants()) is left[1]
    assert list(await stage.counters()) == ([WEB] if left[2] else [])
    assert await stage.documents() == ({}, True)
    assert (await stage.events(WEB))[-1] == "ForceDeleted"
    assert (await stage.events(SHOP))[-1] == "ForceDeleted"


@ENGINES
async def test_a_pipeline_goes_while_its_tenant_lives(stage: Stage, engine: Engine) -> None:
    await RETAIN(stage)
    await stage.pipeline(deletionPolicy="Delete")
    await stage.settle()
    stage.wire.take_away(engine)
    await stage.delete(PIPELINES, WEB)
    await stage.annotate(PIPELINES, WEB, **{"force-delete": "true"})
    await look(stage)
    assert await there(stage) == [SHOP]
    stage.wire.take_away(None)
    await stage.settle()

    assert (await stage.document()).pipelines == ()
    assert await stage.condition(TENANTS, SHOP, "Synced") == ("True", "Applied")


@pytest.mark.parametrize("value", [None, "false", "yes"])
async def test_nothing_is_passed_over_unasked(stage: Stage, value: str | None) -> None:
    await DELETE(stage)
    await stage.settle()
    stage.wire.take_away(Engine.POSTGRES)
    await delete_both(stage)
    if value is not None:
        await force(stage, value)
    await look(stage)
    assert await there(stage) == [SHOP, WEB]
    stage.wire.take_away(None)
    await stage.settle()

    assert not await there(stage)
    assert (await stage.events(WEB))[-1] == "Deleted"
    assert not await stage.tenants()


async def test_with_all_engines_there_it_is_a_deletion_like_any(stage: Stage) -> None:
    await DELETE(stage)
    await stage.settle()
    await stage.count(WEB)
    await force(stage)
    await stage.settle()
    assert await there(stage) == [SHOP, WEB]
    await delete_both(stage)
    await stage.settle()

    assert not await there(stage)
    assert not await stage.topics()
    assert not await stage.tenants()
    assert not await stage.counters()
    assert (await stage.events(SHOP))[-1] == "Deleted"
    assert (await stage.events(WEB))[-1] == "Deleted"
