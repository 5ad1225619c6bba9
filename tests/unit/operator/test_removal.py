"""Deletion, from the finalizer to what is retained and what is dropped."""

import pytest
from argus_operator.models.common import FINALIZER
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import SECRET, SHOP, WEB, World


class TestDeletion:
    async def test_retain_keeps_topics_and_tables(self, running: World) -> None:
        topic, uid = running.topic(), running.uid(PIPELINES, WEB)
        running.cluster.delete(PIPELINES, WEB)
        await running.settle()

        assert (PIPELINES, NAMESPACE, WEB) not in running.cluster.stored
        assert topic in running.kafka.topics
        assert uid in running.database.retained
        assert running.document.pipelines == ()
        assert running.cluster.told(WEB)[-1] == "Retained"
        assert topic in running.cluster.notes(WEB)[-1]

    async def test_delete_drops_topics_tables_and_counters(self, running: World) -> None:
        topic, uid = running.topic(), running.uid(PIPELINES, WEB)
        running.pipeline(spec={"deletionPolicy": "Delete"})
        await running.settle()
        running.cluster.delete(PIPELINES, WEB)
        await running.settle()

        assert not running.kafka.topics
        assert uid not in running.database.pipelines
        assert running.counters.dropped == [(running.id, WEB, topic, 1)]
        assert running.cluster.told(WEB)[-1] == "Deleted"

    async def test_nothing_is_dropped_before_pods_have_heard(self, running: World) -> None:
        topic = running.topic()
        running.pipeline(spec={"deletionPolicy": "Delete"})
        await running.settle()
        running.cluster.delete(PIPELINES, WEB)
        verdict = await running.reconcile(seconds=10)

        assert running.document.pipelines == ()
        assert topic in running.kafka.topics
        assert verdict.again_in is not None

        await running.reconcile(seconds=verdict.again_in)
        assert topic not in running.kafka.topics

    async def test_a_deleted_tenant_leaves_the_registry_and_keeps_its_schema(
        self, running: World
    ) -> None:
        id_ = running.id
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()

        assert id_ not in running.registry.held
        assert id_ in running.database.retained_tenants
        assert (TENANTS, NAMESPACE, SHOP) not in running.cluster.stored
        assert running.ready(PIPELINES, WEB) == ("False", "TenantNotFound")
        assert running.topic() in running.kafka.topics

    async def test_a_tenant_with_delete_spares_tables_under_retain(self, running: World) -> None:
        running.tenant({"deletionPolicy": "Delete"})
        running.pipeline("mortal", {"match": ["x"], "deletionPolicy": "Delete"})
        await running.settle()
        id_, kept = running.id, running.uid(PIPELINES, WEB)
        mortal = running.uid(PIPELINES, "mortal")
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()

        assert kept in running.database.pipelines
        assert mortal not in running.database.pipelines
        assert id_ in running.database.tenants

    async def test_a_tenant_with_delete_and_no_pipelines_drops_its_schema(
        self, world: World
    ) -> None:
        world.tenant({"deletionPolicy": "Delete"})
        await world.settle()
        id_ = world.id
        world.cluster.delete(TENANTS, SHOP)
        await world.settle()

        assert id_ not in world.database.tenants

    async def test_both_deleted_at_once(self, running: World) -> None:
        topic = running.topic()
        running.cluster.delete(TENANTS, SHOP)
        running.cluster.delete(PIPELINES, WEB)
        await running.settle()

        assert not running.cluster.stored
        assert topic in running.kafka.topics
        assert not running.registry.held

    async def test_a_pipeline_deleted_after_its_tenant(self, running: World) -> None:
        uid = running.uid(PIPELINES, WEB)
        running.pipeline(spec={"deletionPolicy": "Delete"})
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()
        running.cluster.delete(PIPELINES, WEB)
        await running.settle()

        assert not running.cluster.stored
        assert uid not in running.database.pipelines
        assert not running.kafka.topics

    @pytest.mark.parametrize("adapter", ["kafka", "database", "registry", "counters"])
    async def test_the_finalizer_stays_until_all_is_done(
        self, running: World, adapter: str
    ) -> None:
        running.pipeline(spec={"deletionPolicy": "Delete"})
        await running.settle()
        running.cluster.delete(PIPELINES, WEB)
        getattr(running, adapter).error = away("Away")
        verdicts = [await running.reconcile() for _ in range(3)]

        assert verdicts[-1].retry
        found = running.cluster.stored[(PIPELINES, NAMESPACE, WEB)]
        assert found["metadata"]["finalizers"] == [FINALIZER]
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "Away")

        getattr(running, adapter).error = None
        await running.settle()
        assert (PIPELINES, NAMESPACE, WEB) not in running.cluster.stored

    async def test_a_tenant_waits_for_its_leaving_pipelines_whose_counters_it_names(
        self, running: World
    ) -> None:
        id_ = running.id
        running.pipeline(spec={"deletionPolicy": "Delete"})
        await running.settle()
        running.cluster.delete(TENANTS, SHOP)
        running.cluster.delete(PIPELINES, WEB)
        running.counters.error = away("RedisUnavailable")
        for _ in range(3):
            await running.reconcile()
        assert (TENANTS, NAMESPACE, SHOP) in running.cluster.stored

        running.counters.error = None
        await running.settle()
        assert not running.cluster.stored
        assert [dropped[0] for dropped in running.counters.dropped] == [id_]

    async def test_a_foreign_finalizer_does_not_bring_back_what_was_cleaned(
        self, running: World
    ) -> None:
        running.tenant(finalizers=[FINALIZER, "example.org/other"])
        await running.settle()
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()
        del running.cluster.secrets[SECRET]
        writes = len(running.registry.writes)
        await running.settle()

        found = running.cluster.stored[(TENANTS, NAMESPACE, SHOP)]
        assert found["metadata"]["finalizers"] == ["example.org/other"]
        assert SECRET not in running.cluster.secrets
        assert len(running.registry.writes) == writes

    async def test_a_tenant_that_went_without_a_trace_is_retired(self, running: World) -> None:
        id_ = running.id
        del running.cluster.stored[(TENANTS, NAMESPACE, SHOP)]
        await running.settle()

        assert id_ not in running.registry.held
        assert id_ in running.database.tenants

    async def test_unread_registry_lets_nothing_go(self, running: World) -> None:
        running.cluster.delete(PIPELINES, WEB)
        running.registry.error = away("KafkaUnavailable")
        running.registry.held.clear()
        await running.reconcile()

        assert (PIPELINES, NAMESPACE, WEB) in running.cluster.stored
        assert not running.database.retained
