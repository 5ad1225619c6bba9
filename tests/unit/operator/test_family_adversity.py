"""Dependencies that are away: a condition and a retry, and nothing that was published is lost."""

import pytest
from argus_contract import names
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.unit.operator.fakes import away
from tests.unit.operator.world import GIB, SHOP, WEB, World


class TestAdversity:
    @pytest.mark.parametrize(
        ("adapter", "condition", "kind", "ready"),
        [
            ("kafka", "TopicsReady", PIPELINES, ("False", "Away")),
            ("database", "SchemasReady", PIPELINES, ("True", "Accepting")),
            ("database", "SchemasReady", TENANTS, ("True", "Accepting")),
            ("registry", "RegistryReady", PIPELINES, ("False", "Away")),
            ("registry", "RegistryReady", TENANTS, ("False", "Away")),
        ],
    )
    async def test_a_dependency_that_is_away_is_a_condition_and_a_retry(
        self, running: World, adapter: str, condition: str, kind: str, ready: tuple[str, str]
    ) -> None:
        getattr(running, adapter).error = away("Away")
        verdict = await running.reconcile()
        name = SHOP if kind == TENANTS else WEB

        assert verdict.retry
        assert running.cluster.condition(kind, name, condition) == ("False", "Away")
        assert running.cluster.condition(kind, name, "Synced") == ("False", "Away")
        assert running.ready(kind, name) == ready

        getattr(running, adapter).error = None
        await running.settle()
        assert running.ready(kind, name) == ("True", "Accepting")

    @pytest.mark.parametrize("adapter", ["kafka", "database", "registry"])
    async def test_what_was_published_stays_published(self, running: World, adapter: str) -> None:
        before = running.document
        getattr(running, adapter).error = away("Away")
        await running.reconcile()

        assert running.document == before

    async def test_a_lost_registry_is_whole_again_without_the_database(
        self, running: World
    ) -> None:
        before = running.document
        running.registry.held.clear()
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()

        assert running.document.pipelines == before.pipelines

    async def test_facts_stay_while_a_dependency_is_away(self, running: World) -> None:
        before = running.cluster.status(PIPELINES, WEB)
        running.kafka.error = running.database.error = away("Away")
        await running.reconcile()
        after = running.cluster.status(PIPELINES, WEB)

        assert {k: v for k, v in after.items() if k != "conditions"} == {
            k: v for k, v in before.items() if k != "conditions"
        }

    async def test_a_new_pipeline_is_not_published_before_it_has_tables(
        self, running: World
    ) -> None:
        running.database.error = away("Away")
        running.pipeline("late", {"match": ["late"]})
        await running.reconcile()

        assert [item.name for item in running.document.pipelines] == [WEB]
        assert running.cluster.condition(PIPELINES, "late", "RegistryReady") == ("False", "NotYet")
        assert running.ready(PIPELINES, "late") == ("False", "Away")

    async def test_one_pipeline_in_trouble_does_not_hold_up_another(self) -> None:
        world = World(disk=2 * GIB)
        world.tenant()
        world.pipeline("big", {"match": ["big"], "topic": {"retention": {"bytes": "9Gi"}}})
        world.pipeline()
        await world.reconcile()

        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert world.ready(PIPELINES, "big") == ("False", "KafkaDiskTooSmall")
        assert world.ready() == ("True", "Accepting")

    async def test_a_withheld_marker_is_a_condition(self, running: World) -> None:
        running.registry.expected = {names.tenant_id("a", "b", "c" * 8)}
        verdict = await running.reconcile()

        assert verdict.retry
        assert running.ready() == ("False", "RegistryIncomplete")

    async def test_an_api_server_that_is_away_changes_nothing(self, running: World) -> None:
        running.cluster.error = away("KubernetesUnavailable")
        with pytest.raises(Exception, match="KubernetesUnavailable"):
            await running.reconcile()
