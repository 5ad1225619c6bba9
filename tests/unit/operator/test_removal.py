"""Deletion, from the finalizer to what is retained and what is dropped."""

import pytest
from argus_operator.errors import BusyError
from argus_operator.models.common import FINALIZER, FORCE
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


class TestForced:
    async def test_what_was_left_is_named_with_what_removes_it(self, running: World) -> None:
        topic, uid, id_ = running.topic(), running.uid(PIPELINES, WEB), running.id
        running.tenant({"deletionPolicy": "Delete"}, annotations={FORCE: "true"})
        spec = {"deletionPolicy": "Delete"}
        running.pipeline(spec=spec, annotations={FORCE: "true"})
        await running.settle()
        running.cluster.delete(TENANTS, SHOP)
        running.cluster.delete(PIPELINES, WEB)
        running.kafka.error = running.database.error = away("Away")
        running.counters.error = running.registry.error = away("Away")
        await running.reconcile()

        assert not running.cluster.stored
        (note,) = running.cluster.notes(WEB)[-1:]
        for left in (topic, f"argus.drop_pipeline('{uid}')", f"{{{id_}}}:*", "registry"):
            assert left in note
        (note,) = running.cluster.notes(SHOP)[-1:]
        assert f"argus.drop_tenant('{id_}')" in note
        assert "registry" in note

    async def test_tables_that_are_kept_are_put_aside_before_the_schema_goes(
        self, running: World
    ) -> None:
        uid, id_ = running.uid(PIPELINES, WEB), running.id
        running.tenant({"deletionPolicy": "Delete"}, annotations={FORCE: "true"})
        await running.settle()
        running.cluster.delete(TENANTS, SHOP)
        running.database.error = away("Away")
        for _ in range(2):
            await running.reconcile()

        note = running.cluster.notes(SHOP)[-1]
        keep, drop = f"argus.retain_pipeline('{uid}')", f"argus.drop_tenant('{id_}')"
        assert 0 < note.index(keep) < note.index(drop)

    async def test_a_tenant_waits_for_a_pipeline_that_is_not_forced(self, running: World) -> None:
        running.tenant(annotations={FORCE: "true"})
        running.cluster.delete(TENANTS, SHOP)
        running.cluster.delete(PIPELINES, WEB)
        running.registry.error = away("KafkaUnavailable")
        verdict = await running.reconcile()

        assert verdict.retry
        assert (TENANTS, NAMESPACE, SHOP) in running.cluster.stored
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "KafkaUnavailable")
        assert not running.database.retained

    async def test_what_is_in_somebodys_way_for_a_moment_is_waited_for(
        self, running: World
    ) -> None:
        running.pipeline(annotations={FORCE: "true"})
        running.cluster.delete(PIPELINES, WEB)
        running.kafka.error = BusyError("Changed", "later")
        for _ in range(2):
            verdict = await running.reconcile()

        assert verdict.retry
        assert (PIPELINES, NAMESPACE, WEB) in running.cluster.stored

    async def test_the_api_server_is_never_passed_over(self, running: World) -> None:
        running.pipeline(annotations={FORCE: "true"})
        running.cluster.delete(PIPELINES, WEB)
        running.cluster.refuse_finalizers = True
        for _ in range(2):
            verdict = await running.reconcile()

        assert verdict.retry
        assert (PIPELINES, NAMESPACE, WEB) in running.cluster.stored
