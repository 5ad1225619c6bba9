"""Pipelines that claim the same events, and resources that are to be left alone."""

import pytest
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


class TestConflict:
    async def test_the_older_default_wins_until_it_goes(self, running: Stage) -> None:
        await running.tick()
        await running.pipeline("zebra")
        await running.settle()
        assert await running.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert await running.condition(PIPELINES, "zebra") == ("False", "DefaultConflict")

        await running.delete(PIPELINES, WEB)
        await running.settle()
        assert await running.condition(PIPELINES, "zebra") == ("True", "Accepting")
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")

    async def test_a_name_that_two_claim_goes_to_the_older(self, running: Stage) -> None:
        await running.pipeline("first", match=["click", "api*"])
        await running.settle()
        await running.tick()
        await running.pipeline("later", match=["api*", "other"])
        await running.settle()
        assert await running.condition(PIPELINES, "first") == ("True", "Accepting")
        assert await running.condition(PIPELINES, "later") == ("False", "MatchConflict")

        await running.pipeline("later", match=["other"])
        await running.settle()
        assert await running.condition(PIPELINES, "later") == ("True", "Accepting")


class TestPause:
    async def test_a_paused_tenant_is_left_alone_until_it_is_not(self, running: Stage) -> None:
        before = await running.document()
        await running.annotate(TENANTS, SHOP, paused="true")
        await running.tenant(suspended=True)
        await running.settle()
        assert await running.document() == before
        assert await running.condition(TENANTS, SHOP, "Synced") == ("False", "Paused")
        assert await running.condition(PIPELINES, WEB, "Synced") == ("False", "Paused")
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")

        await running.annotate(TENANTS, SHOP, paused=None)
        await running.settle()
        assert (await running.document()).suspended
        assert await running.condition(PIPELINES, WEB, "Synced") == ("True", "Applied")

    async def test_a_paused_pipeline_is_left_alone_until_it_is_not(self, running: Stage) -> None:
        before = await running.document()
        await running.annotate(PIPELINES, WEB, paused="")
        await running.pipeline(topic={"partitions": 2, "retention": {"bytes": "64Mi"}})
        await running.settle()
        assert await running.document() == before
        assert (await running.topics())[await running.topic()].partitions == 1

        await running.annotate(PIPELINES, WEB, paused=None)
        await running.settle()
        assert (await running.topics())[await running.topic()].partitions == 2
