"""What is to be seen from outside of the tenant `shop` and its pipelines once all is settled."""

from collections.abc import Awaitable, Callable
from typing import Any

from argus_contract import names
from argus_contract.keys import hash_key
from argus_contract.registry import Pipeline, TenantDocument
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.schemas import PipelineObserved
from argus_operator.topics import TopicState

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

Sight = Callable[[Stage], Awaitable[None]]
"""Raises AssertionError where it is not so."""

READY, APPLIED = ("True", "Accepting"), ("True", "Applied")


def expect(found: object, wanted: object) -> None:
    """They are equal."""
    assert found == wanted, f"{found!r}, not {wanted!r}"


def ready(
    plural: str, name: str, wanted: tuple[str, str] = READY, synced: tuple[str, str] = APPLIED
) -> Sight:
    """`Ready` and `Synced` are this, and every condition is of the spec as it is now."""

    async def sight(stage: Stage) -> None:
        found = await stage.present(plural, name)
        told = {item["observedGeneration"] for item in found["status"]["conditions"]}

        expect(await stage.condition(plural, name), wanted)
        expect(await stage.condition(plural, name, "Synced"), synced)
        expect(told, {found["metadata"]["generation"]})

    return sight


def every(*sights: Sight) -> Sight:
    """All of them."""

    async def sight(stage: Stage) -> None:
        for each in sights:
            await each(stage)

    return sight


async def keys_agree(stage: Stage) -> None:
    """Pods take the keys of the Secret, and no other."""
    held = await stage.secret()

    assert held
    expect({key.hash for key in (await stage.document()).keys}, set(map(hash_key, held.values())))


async def engines_agree(stage: Stage) -> None:
    """All that the default pipeline names is there."""
    topic = await stage.topic()
    tables = await stage.tables(await stage.uid(PIPELINES, WEB))

    assert {topic, names.dead_letter_topic(topic)} <= set(await stage.topics())
    expect(tables.events_table, "events_web")
    assert None not in (tables.ids_table, tables.rollup_table)
    assert (await stage.documents())[1]
    assert topic in [item.topic for item in (await stage.document()).pipelines]
    assert (await stage.tenants())[await stage.id()] is False


serving = every(ready(TENANTS, SHOP), ready(PIPELINES, WEB), keys_agree, engines_agree)
"""Tenant and default pipeline are as they are to be."""


def told(of: Callable[[TenantDocument], Any], wanted: object) -> Sight:
    """Serving, and pods know this of the tenant."""

    async def sight(stage: Stage) -> None:
        await serving(stage)
        expect(of(await stage.document()), wanted)

    return sight


def routed(of: Callable[[Pipeline], Any], wanted: object, name: str = WEB) -> Sight:
    """Serving, and pods know this of a pipeline."""

    def one(document: TenantDocument) -> object:
        [found] = [item for item in document.pipelines if item.name == name]
        return of(found)

    return told(one, wanted)


def kept(of: Callable[[TopicState], Any], wanted: object, *, dead: bool = False) -> Sight:
    """Serving, and Kafka has this of the topic, or of the dead letters' one."""

    async def sight(stage: Stage) -> None:
        await serving(stage)
        topic = await stage.topic()
        found = (await stage.topics())[names.dead_letter_topic(topic) if dead else topic]
        expect(of(found), wanted)

    return sight


def stored(of: Callable[[PipelineObserved], Any], wanted: object) -> Sight:
    """Serving, and PostgreSQL has this of the pipeline."""

    async def sight(stage: Stage) -> None:
        await serving(stage)
        expect(of(await stage.tables(await stage.uid(PIPELINES, WEB))), wanted)

    return sight


async def in_grace(stage: Stage) -> None:
    """The key of before goes on beside another."""
    held, before = await stage.secret(), stage.keys_before["default"]

    await serving(stage)
    assert held is not None
    assert held["default.previous"] == before != held["default"]
    until = {key.hash: key.until is not None for key in (await stage.document()).keys}
    expect(until, {hash_key(held["default"]): False, hash_key(before): True})


async def replaced(stage: Stage) -> None:
    """Of the keys of before none is taken, and there is one in place of them."""
    held = await stage.secret()

    await serving(stage)
    assert held is not None
    expect(set(held), {"default"})
    assert not set(held.values()) & set(stage.keys_before.values())


async def suspended(stage: Stage) -> None:
    """Pods refuse what the tenant sends."""
    await ready(TENANTS, SHOP, ("False", "Suspended"))(stage)
    assert (await stage.document()).suspended


async def orphaned(stage: Stage) -> None:
    """The tenant is no more, its pipeline says so."""
    assert await stage.object(TENANTS, SHOP) is None
    expect(await stage.condition(PIPELINES, WEB), ("False", "TenantNotFound"))
    expect(await stage.documents(), ({}, True))


async def unserved(stage: Stage) -> None:
    """The pipeline is no more, its tenant says so."""
    assert await stage.object(PIPELINES, WEB) is None
    expect(await stage.condition(TENANTS, SHOP), ("False", "NoPipeline"))
    expect((await stage.document()).pipelines, ())


async def gone(stage: Stage) -> None:
    """Neither the objects nor what pods knew of them are there."""
    assert await stage.object(TENANTS, SHOP) is None
    assert await stage.object(PIPELINES, WEB) is None
    expect(await stage.documents(), ({}, True))


async def dropped(stage: Stage) -> None:
    """Nothing is left in any engine."""
    await left_to_expire(stage)
    assert not await stage.counters()


async def left_to_expire(stage: Stage) -> None:
    """Nothing is left but, it may be, live counters: they are by the id of a tenant that went."""
    await gone(stage)
    assert not await stage.topics()
    assert not await stage.tenants()
    expect([(await stage.tables(uid)).events_table for uid in stage.pipelines()], [None])


async def retained(stage: Stage) -> None:
    """The data is left, under names that no successor takes."""
    await gone(stage)
    expect(len(await stage.topics()), 2)
    expect(list((await stage.tenants()).values()), [True])
    expect([(await stage.tables(uid)).retained for uid in stage.pipelines()], [True])


async def anew(stage: Stage) -> None:
    """Serving, with nothing of the predecessor."""
    await serving(stage)
    held = await stage.secret()

    assert held is not None
    assert not set(held.values()) & set(stage.keys_before.values())
    expect(len((await stage.documents())[0]), 1)
