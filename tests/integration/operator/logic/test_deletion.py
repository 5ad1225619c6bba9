"""Deletion: what is kept, what is dropped, in whatever order tenant and pipelines go."""

import pytest
from argus_contract import names
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash.scenarios import DELETE, RETAIN
from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

ORDERS = pytest.mark.parametrize(
    "order", [(TENANTS, PIPELINES), (PIPELINES, TENANTS)], ids=["tenant-first", "pipeline-first"]
)


async def delete(stage: Stage, order: tuple[str, str], together: bool) -> None:
    """Both, in this order; `together` before the operator has looked."""
    for plural in order:
        await stage.delete(plural, SHOP if plural == TENANTS else WEB)
        if not together:
            await stage.settle()
    await stage.settle()


class TestRetain:
    @ORDERS
    @pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
    async def test_rows_and_topics_stay_and_all_else_goes(
        self, stage: Stage, order: tuple[str, str], together: bool
    ) -> None:
        await RETAIN(stage)
        await stage.settle()
        id_, topic, uid = await stage.id(), await stage.topic(), await stage.uid(PIPELINES, WEB)
        await delete(stage, order, together)

        assert await stage.object(TENANTS, SHOP) is None
        assert await stage.object(PIPELINES, WEB) is None
        assert await stage.documents() == ({}, True)
        assert set(await stage.topics()) == {topic, names.dead_letter_topic(topic)}
        assert (await stage.tables(uid)).retained
        assert await stage.tenants() == {id_: True}
        assert (await stage.events(SHOP))[-1] == "Retained"
        assert (await stage.events(WEB))[-1] == "Retained"


class TestDelete:
    @ORDERS
    @pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
    async def test_topics_tables_schema_and_document_go(
        self, stage: Stage, order: tuple[str, str], together: bool
    ) -> None:
        await DELETE(stage)
        await stage.settle()
        uid = await stage.uid(PIPELINES, WEB)
        await delete(stage, order, together)

        assert await stage.object(TENANTS, SHOP) is None
        assert await stage.object(PIPELINES, WEB) is None
        assert await stage.documents() == ({}, True)
        assert not await stage.topics()
        assert (await stage.tables(uid)).events_table is None
        assert not await stage.tenants()
        assert (await stage.events(SHOP))[-1] == "Deleted"
        assert (await stage.events(WEB))[-1] == "Deleted"

    async def test_live_counters_go_with_the_pipeline(self, stage: Stage) -> None:
        await DELETE(stage)
        await stage.settle()
        await stage.count(WEB)
        assert await stage.counters() == [WEB]
        await stage.delete(PIPELINES, WEB)
        await stage.settle()

        assert not await stage.counters()

    async def test_a_tenant_with_delete_spares_what_a_pipeline_retains(self, stage: Stage) -> None:
        await stage.tenant(deletionPolicy="Delete")
        await stage.pipeline()
        await stage.settle()
        id_, uid = await stage.id(), await stage.uid(PIPELINES, WEB)
        await stage.delete(TENANTS, SHOP)
        await stage.settle()

        assert (await stage.tables(uid)).retained
        assert await stage.tenants() == {id_: True}
        assert await stage.condition(PIPELINES, WEB) == ("False", "TenantNotFound")

    @pytest.mark.parametrize("anew", [False, True], ids=["same-process", "another-process"])
    async def test_nothing_is_dropped_before_pods_have_heard(
        self, stage: Stage, anew: bool
    ) -> None:
        await DELETE(stage)
        await stage.settle()
        topic = await stage.topic()
        await stage.pass_time(60)
        await stage.delete(PIPELINES, WEB)
        verdict = await stage.reconcile(stage.family)
        assert (await stage.document()).pipelines == ()
        if anew:
            await stage.restart()
            await stage.round(lambda _: None)
            verdict = await stage.reconcile(stage.family)
        assert verdict.again_in is not None
        assert topic in await stage.topics()

        await stage.settle()
        assert not await stage.topics()
