"""Tenants and pipelines that come, in whatever order, and come again."""

import pytest
from argus_contract.keys import hash_key
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


class TestCreate:
    async def test_a_tenant_with_a_pipeline_takes_events(self, running: Stage) -> None:
        document, held = await running.document(), await running.secret()
        topic, uid = await running.topic(), await running.uid(PIPELINES, WEB)

        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")
        assert await running.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert held is not None
        assert [key.hash for key in document.keys] == [hash_key(held["default"])]
        assert [item.topic for item in document.pipelines] == [topic]
        assert set(await running.topics()) == {topic, f"{topic}.dead"}
        assert (await running.tables(uid)).events_table == "events_web"
        assert await running.tenants() == {await running.id(): False}
        assert await running.events(SHOP) == ["KeysGenerated", "Accepting"]
        assert await running.events(WEB) == ["Accepting"]

    async def test_the_registry_is_whole(self, running: Stage) -> None:
        documents, whole = await running.documents()

        assert whole
        assert set(documents) == {await running.id()}

    async def test_a_second_look_changes_nothing(self, running: Stage) -> None:
        before = await running.end_state()
        versions = [await version(running, TENANTS, SHOP), await version(running, PIPELINES, WEB)]
        for _ in range(2):
            await running.settle()

        assert await running.end_state() == before
        assert versions == [
            await version(running, TENANTS, SHOP),
            await version(running, PIPELINES, WEB),
        ]

    async def test_another_process_changes_nothing(self, running: Stage) -> None:
        before = await running.end_state()
        await running.restart()
        await running.settle()

        assert await running.end_state() == before

    async def test_a_pipeline_waits_for_its_tenant(self, stage: Stage) -> None:
        await stage.pipeline()
        await stage.settle()
        assert await stage.condition(PIPELINES, WEB) == ("False", "TenantNotFound")
        assert not await stage.topics()

        await stage.tenant()
        await stage.settle()
        assert await stage.condition(PIPELINES, WEB) == ("True", "Accepting")

    async def test_a_tenant_waits_for_its_default_pipeline(self, stage: Stage) -> None:
        await stage.tenant()
        await stage.pipeline("clicks", match=["click"])
        await stage.settle()
        assert await stage.condition(TENANTS, SHOP) == ("False", "NoPipeline")
        assert await stage.condition(PIPELINES, "clicks") == ("True", "Accepting")

        await stage.pipeline()
        await stage.settle()
        assert await stage.condition(TENANTS, SHOP) == ("True", "Accepting")


async def version(stage: Stage, plural: str, name: str) -> str:
    """The resourceVersion of an object: it grows with each write."""
    found: str = (await stage.present(plural, name))["metadata"]["resourceVersion"]
    return found


class TestRecreate:
    async def test_what_was_dropped_begins_anew(self, stage: Stage) -> None:
        await stage.tenant(deletionPolicy="Delete")
        await stage.pipeline(deletionPolicy="Delete")
        await stage.settle()
        old, keys = await stage.id(), (await stage.document()).keys
        await stage.delete(TENANTS, SHOP)
        await stage.delete(PIPELINES, WEB)
        await stage.settle()
        await stage.collect()
        await stage.tenant()
        await stage.pipeline()
        await stage.settle()
        documents, whole = await stage.documents()

        assert await stage.condition(TENANTS, SHOP) == ("True", "Accepting")
        assert whole
        assert old not in documents
        assert (await stage.document()).keys != keys
        assert await stage.tenants() == {await stage.id(): False}

    async def test_what_was_retained_stays_beside_what_is_new(self, running: Stage) -> None:
        old, topic = await running.uid(PIPELINES, WEB), await running.topic()
        await running.delete(PIPELINES, WEB)
        await running.settle()
        await running.pipeline()
        await running.settle()

        assert await running.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert await running.topic() != topic
        assert topic in await running.topics()
        assert (await running.tables(old)).retained
        assert not (await running.tables(await running.uid(PIPELINES, WEB))).retained

    async def test_a_new_tenant_gets_nothing_of_its_predecessor(self, running: Stage) -> None:
        old = await running.id()
        await running.delete(TENANTS, SHOP)
        await running.settle()
        await running.collect()
        await running.tenant()
        await running.look()
        document = await running.document()

        assert await running.condition(PIPELINES, WEB) == ("False", "TenantReplaced")
        assert await running.tenants() == {old: True, await running.id(): False}
        assert document.pipelines == ()
        assert await running.condition(TENANTS, SHOP) == ("False", "PipelineNotReady")
