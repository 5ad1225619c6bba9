"""A tenant with its pipelines, from states and events to what must hold afterwards."""

import dataclasses
from typing import Any

import msgspec
import pytest
from argus_contract import keys as contract_keys
from argus_contract import names
from argus_operator.errors import BusyError
from argus_operator.keys import SecretState
from argus_operator.models.common import FINALIZER, Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.schemas import Standing
from argus_operator.topics import Backlog, Create, TopicState

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import GIB, SHOP, WEB, World

SECRET = (NAMESPACE, names.key_secret(SHOP))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def running(world: World) -> World:
    """A tenant with its default pipeline, both Ready."""
    world.tenant()
    world.pipeline()
    await world.settle()
    assert world.ready() == ("True", "Accepting")
    return world


class TestCreation:
    async def test_tenant_and_pipeline_become_ready(self, running: World) -> None:
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert running.document.pipelines[0].topic == running.topic()
        assert set(running.kafka.topics) == {
            running.topic(),
            names.dead_letter_topic(running.topic()),
        }

    async def test_status_shows_the_facts(self, running: World) -> None:
        tenant, pipeline = (
            running.cluster.status(TENANTS, SHOP),
            running.cluster.status(PIPELINES, WEB),
        )
        schema = names.schema(NAMESPACE, SHOP, running.uid(TENANTS, SHOP))
        key = running.document.keys[0]

        assert tenant["id"] == running.id
        assert tenant["secretName"] == "shop-argus-keys"
        assert tenant["keys"] == [
            {
                "name": "default",
                "kind": "server",
                "hashPrefix": key.hash[:8],
                "created": "2026-05-01T12:01:00Z",
            }
        ]
        assert {name: pipeline[name] for name in ("topic", "deadLetterTopic", "partitions")} == {
            "topic": running.topic(),
            "deadLetterTopic": running.topic() + ".dead",
            "partitions": 1,
        }
        assert (pipeline["schema"], pipeline["table"], pipeline["role"]) == (
            schema,
            "events_web",
            f"{schema}_ro",
        )

    async def test_the_registered_hash_is_that_of_the_key_in_the_secret(
        self, running: World
    ) -> None:
        (key,) = running.cluster.secrets[SECRET].data.values()

        assert running.document.keys[0].hash == contract_keys.hash_key(key)

    async def test_every_condition_says_of_which_generation_it_is(self, running: World) -> None:
        for plural, name in ((TENANTS, SHOP), (PIPELINES, WEB)):
            conditions = running.cluster.status(plural, name)["conditions"]
            assert {item["observedGeneration"] for item in conditions} == {1}

    async def test_the_finalizer_stands_before_anything_is_made(self, world: World) -> None:
        world.tenant()
        world.pipeline()
        world.cluster.refuse_finalizers = True
        with pytest.raises(BusyError):
            await world.reconcile()

        assert not world.kafka.topics
        assert not world.cluster.secrets
        assert not world.database.tenants

    async def test_nothing_is_made_for_what_vanished_before_it_was_held(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.tenant()
        world.pipeline()
        listed = world.cluster.objects

        async def listed_and_gone(plural: str, namespace: str | None = None) -> list[Raw]:
            found = await listed(plural, namespace)
            world.cluster.delete(PIPELINES, WEB)
            return found

        monkeypatch.setattr(world.cluster, "objects", listed_and_gone)
        with pytest.raises(BusyError):
            await world.reconcile()

        assert not world.kafka.topics
        assert not world.database.pipelines

    async def test_a_tenant_without_pipelines_is_not_ready(self, world: World) -> None:
        world.tenant()
        await world.settle()

        assert world.ready() == ("False", "NoPipeline")
        assert world.cluster.condition(TENANTS, SHOP, "Synced") == ("True", "Applied")
        assert world.document.pipelines == ()

    async def test_a_pipeline_with_match_is_no_default(self, world: World) -> None:
        world.tenant()
        world.pipeline(spec={"match": ["page_view"]})
        await world.settle()

        assert world.ready() == ("False", "NoPipeline")
        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_a_pipeline_waits_for_its_tenant(self, world: World) -> None:
        world.pipeline()
        await world.settle()
        assert world.ready(PIPELINES, WEB) == ("False", "TenantNotFound")
        assert not world.kafka.topics

        world.tenant()
        await world.settle()
        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")


class TestNothingChanged:
    async def test_a_second_look_changes_nothing(self, running: World) -> None:
        writes, events = running.cluster.status_writes, list(running.cluster.events)
        registered, done = list(running.registry.writes), list(running.kafka.done)

        await running.reconcile()

        assert running.cluster.status_writes == writes
        assert running.cluster.events == events
        assert running.registry.writes == registered
        assert running.kafka.done == done


class TestChange:
    async def test_limits_of_overrides_reach_the_document(self, running: World) -> None:
        running.tenant({"rateLimit": {"perKey": {"rate": 7, "burst": 6000}}})
        await running.settle()

        assert running.document.limits.per_key.rate == 7
        assert running.document.limits.per_ip.rate == 50

    async def test_an_unknown_tier_keeps_the_limits_and_says_so(self, running: World) -> None:
        before = running.document.limits
        running.tenant({"tier": "gold"})
        await running.reconcile()

        assert running.ready() == ("False", "UnknownTier")
        assert running.document.limits == before

    async def test_suspension_reaches_the_document(self, running: World) -> None:
        running.tenant({"suspended": True})
        await running.settle()

        assert running.document.suspended
        assert running.ready() == ("False", "Suspended")
        assert running.document.pipelines

    async def test_suspension_does_not_wait_for_the_database(self, running: World) -> None:
        running.database.error = away("DatabaseUnavailable")
        running.tenant({"suspended": True})
        await running.reconcile()

        assert running.document.suspended

    async def test_partitions_grow(self, running: World) -> None:
        running.pipeline(spec={"topic": {"partitions": 3}})
        await running.settle()

        assert running.kafka.topics[running.topic()].partitions == 3
        assert running.document.pipelines[0].partitions == 3
        assert running.cluster.status(PIPELINES, WEB)["partitions"] == 3

    @pytest.mark.parametrize(
        "topic", [{"retention": {"bytes": "64Mi"}}, {"retention": {"hours": 1}}, {"partitions": 8}]
    )
    async def test_a_topic_keeps_what_is_not_stored_yet(
        self, running: World, topic: dict[str, Any]
    ) -> None:
        before = running.kafka.topics[running.topic()]
        running.kafka.unread = Backlog(0.5, True)
        running.pipeline(spec={"topic": topic})
        verdict = await running.reconcile()

        assert verdict.retry
        assert running.kafka.topics[running.topic()] == before
        assert running.document.pipelines[0].retention_bytes == GIB
        assert running.cluster.condition(PIPELINES, WEB, "TopicsReady") == (
            "False",
            "UnreadEvents",
        )

        running.kafka.unread = Backlog(0.0, False)
        await running.settle()
        assert running.kafka.topics[running.topic()] != before
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_what_is_not_stored_yet_hinders_no_growth_of_retention(
        self, running: World
    ) -> None:
        running.kafka.unread = Backlog(1.0, True)
        running.pipeline(spec={"topic": {"partitions": 2, "retention": {"bytes": "2Gi"}}})
        await running.settle()

        assert running.document.pipelines[0].retention_bytes == 2 * GIB

    async def test_a_key_that_leaves_the_spec_leaves_secret_and_registry(
        self, running: World
    ) -> None:
        running.tenant({"apiKeys": [{"name": "web", "kind": "public"}]})
        await running.settle()

        assert set(running.cluster.secrets[SECRET].data) == {"web"}
        assert [key.name for key in running.document.keys] == ["web"]


class TestDrift:
    async def test_a_deleted_secret_gets_new_keys_and_a_warning(self, running: World) -> None:
        old = running.document.keys[0].hash
        del running.cluster.secrets[SECRET]
        await running.settle()

        assert running.document.keys[0].hash != old
        assert "KeysRegenerated" in running.cluster.told(SHOP)

    async def test_a_key_written_by_hand_is_taken(self, running: World) -> None:
        mine = contract_keys.generate(contract_keys.KeyKind.SERVER)
        held = running.cluster.secrets[SECRET]
        running.cluster.secrets[SECRET] = dataclasses.replace(held, data={"default": mine})
        await running.settle()

        assert running.document.keys[0].hash == contract_keys.hash_key(mine)

    async def test_a_foreign_secret_of_that_name_is_left_alone(self, world: World) -> None:
        foreign = SecretState("1", False, False, frozenset(), {"password": "x"}, {})
        world.cluster.secrets[SECRET] = foreign
        world.tenant()
        await world.reconcile()

        assert world.ready() == ("False", "SecretNotOurs")
        assert world.cluster.secrets[SECRET] is foreign

    async def test_a_key_of_another_tenant_is_refused(self, running: World) -> None:
        other = names.tenant_id("elsewhere", "thief", "0" * 8)
        copied = msgspec.structs.replace(running.document, id=other, name="thief")
        running.registry.held[other] = copied
        await running.reconcile()

        assert running.cluster.condition(TENANTS, SHOP, "KeysReady") == ("False", "KeyShared")

    async def test_changed_topic_configuration_is_put_back(self, running: World) -> None:
        wanted = running.kafka.topics[running.topic()]
        drifted = {**wanted.configs, "retention.ms": "1"}
        running.kafka.topics[running.topic()] = TopicState(1, drifted)
        await running.settle()

        assert running.kafka.topics[running.topic()] == wanted

    async def test_a_deleted_topic_is_made_again(self, running: World) -> None:
        running.kafka.topics.clear()
        await running.settle()

        assert running.topic() in running.kafka.topics

    @pytest.mark.parametrize("registry_lost", [True, False])
    async def test_a_deleted_topic_that_was_read_stays_away_and_in_the_registry(
        self, running: World, registry_lost: bool
    ) -> None:
        before = running.document
        running.database.ledger[running.topic()] = Standing(offset=7)
        running.kafka.topics.clear()
        if registry_lost:
            running.registry.held.clear()
        await running.reconcile()

        assert running.ready(PIPELINES, WEB) == ("False", "TopicLost")
        assert not running.kafka.topics
        assert running.document.pipelines == before.pipelines

    async def test_a_topic_is_not_made_again_before_the_ledger_can_be_asked(
        self, running: World
    ) -> None:
        running.kafka.topics.clear()
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()

        assert not running.kafka.topics

    async def test_a_lost_registry_is_written_again(self, running: World) -> None:
        before = running.document
        running.registry.held.clear()
        await running.settle()

        assert running.document.keys == before.keys
        assert running.document.pipelines == before.pipelines


class TestConflicts:
    async def test_the_older_default_wins(self, running: World) -> None:
        running.pipeline("zebra")
        await running.settle()

        assert running.ready(PIPELINES, "zebra") == ("False", "DefaultConflict")
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert [item.name for item in running.document.pipelines] == [WEB, "zebra"]

    async def test_a_name_claimed_twice_goes_to_the_older(self, running: World) -> None:
        running.pipeline("first", {"match": ["click", "api*"]})
        running.pipeline("later", {"match": ["api*", "other"]})
        await running.settle()

        assert running.ready(PIPELINES, "first") == ("True", "Accepting")
        assert running.ready(PIPELINES, "later") == ("False", "MatchConflict")

    async def test_the_younger_takes_over_when_the_older_goes(self, running: World) -> None:
        running.pipeline("zebra")
        await running.settle()
        running.cluster.delete(PIPELINES, WEB)
        await running.settle()

        assert running.ready(PIPELINES, "zebra") == ("True", "Accepting")
        assert running.ready() == ("True", "Accepting")

    async def test_more_than_the_disk_is_refused_and_made_good_later(self) -> None:
        world = World(disk=GIB)
        world.tenant()
        world.pipeline()
        await world.reconcile()
        assert world.ready(PIPELINES, WEB) == ("False", "KafkaDiskTooSmall")
        assert world.ready() == ("False", "PipelineNotReady")
        assert not world.kafka.topics

        world.pipeline(spec={"topic": {"retention": {"bytes": "512Mi"}}})
        await world.settle()
        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_growth_beyond_the_disk_leaves_the_topic_as_it_is(self) -> None:
        world = World(disk=2 * GIB)
        world.tenant()
        world.pipeline()
        await world.settle()
        world.pipeline(spec={"topic": {"retention": {"bytes": "3Gi"}}})
        await world.reconcile()

        assert world.ready(PIPELINES, WEB) == ("False", "KafkaDiskTooSmall")
        assert world.document.pipelines[0].retention_bytes == GIB

    async def test_a_recreated_tenant_does_not_get_the_data_of_the_old_one(
        self, running: World
    ) -> None:
        old = running.id
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()
        running.tenant()
        del running.cluster.secrets[SECRET]  # the garbage collector's work
        await running.reconcile()

        assert running.id != old
        assert running.ready(PIPELINES, WEB) == ("False", "TenantReplaced")
        assert running.document.pipelines == ()

    async def test_a_recreated_tenant_does_not_get_events_that_the_old_ones_topic_holds(
        self, running: World
    ) -> None:
        running.tenant({"deletionPolicy": "Delete"})
        running.pipeline(spec={"deletionPolicy": "Delete"})
        await running.settle()
        running.cluster.delete(TENANTS, SHOP)
        await running.settle()
        assert not running.database.pipelines
        running.tenant()
        del running.cluster.secrets[SECRET]
        await running.reconcile()

        assert running.ready(PIPELINES, WEB) == ("False", "TenantReplaced")
        assert running.document.pipelines == ()


class TestAdversity:
    @pytest.mark.parametrize(
        ("adapter", "condition", "kind"),
        [
            ("kafka", "TopicsReady", PIPELINES),
            ("database", "SchemasReady", PIPELINES),
            ("database", "SchemasReady", TENANTS),
            ("registry", "RegistryReady", PIPELINES),
            ("registry", "RegistryReady", TENANTS),
        ],
    )
    async def test_a_dependency_that_is_away_is_a_condition_and_a_retry(
        self, running: World, adapter: str, condition: str, kind: str
    ) -> None:
        getattr(running, adapter).error = away("Away")
        verdict = await running.reconcile()
        name = SHOP if kind == TENANTS else WEB

        assert verdict.retry
        assert running.cluster.condition(kind, name, condition) == ("False", "Away")
        assert running.cluster.condition(kind, name, "Synced") == ("False", "Away")
        assert running.ready(kind, name) == ("False", "Away")

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


class TestHealth:
    async def test_a_pipeline_that_lost_nothing_is_healthy(self, running: World) -> None:
        assert running.cluster.condition(PIPELINES, WEB, "Healthy") == ("True", "NothingLost")

    async def test_lost_records_are_told_and_do_not_stop_it(self, running: World) -> None:
        running.database.ledger[running.topic()] = Standing(offset=100, lost=3)
        await running.settle()

        assert running.cluster.condition(PIPELINES, WEB, "Healthy") == ("False", "RecordsLost")
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert ("Warning", "RecordsLost") in {event[1:3] for event in running.cluster.events}

    async def test_without_the_ledger_it_is_unknown(self, running: World) -> None:
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()

        assert running.cluster.condition(PIPELINES, WEB, "Healthy") == (
            "Unknown",
            "DatabaseUnavailable",
        )


class TestPause:
    async def test_a_paused_tenant_is_left_alone(self, running: World) -> None:
        before = running.document
        running.tenant({"suspended": True}, annotations={"argus.dev/paused": "true"})
        await running.settle()

        assert running.document == before
        assert running.cluster.condition(TENANTS, SHOP, "Synced") == ("False", "Paused")
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "Paused")
        assert running.ready() == ("True", "Accepting")

    async def test_what_is_not_looked_at_stays_of_the_generation_it_was_found_for(
        self, running: World
    ) -> None:
        running.tenant({"suspended": True}, annotations={"argus.dev/paused": "true"})
        await running.settle()
        found = running.cluster.status(TENANTS, SHOP)["conditions"]

        assert {item["type"]: item["observedGeneration"] for item in found} == {
            "Ready": 1,
            "KeysReady": 1,
            "SchemasReady": 1,
            "RegistryReady": 1,
            "Synced": 2,
        }

    async def test_it_goes_on_when_the_annotation_goes(self, running: World) -> None:
        running.tenant({"suspended": True}, annotations={"argus.dev/paused": "true"})
        await running.settle()
        running.tenant({"suspended": True}, annotations={})
        await running.settle()

        assert running.document.suspended

    async def test_a_paused_pipeline_stays_published_as_it_was(self, running: World) -> None:
        before = running.document
        paused = {"argus.dev/paused": ""}
        running.pipeline(spec={"topic": {"partitions": 9}}, annotations=paused)
        await running.settle()

        assert running.document == before
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "Paused")

    async def test_a_lost_registry_waits_for_no_pause(self, running: World) -> None:
        before = running.document
        paused = {"argus.dev/paused": "true"}
        running.tenant(annotations=paused)
        running.pipeline(annotations=paused)
        await running.settle()
        running.registry.held.clear()
        await running.reconcile()
        assert running.document.keys == before.keys
        assert running.document.pipelines == before.pipelines

        await running.settle()
        assert running.cluster.condition(TENANTS, SHOP, "Synced") == ("False", "Paused")

    async def test_a_spec_of_another_release_is_a_condition(self, running: World) -> None:
        before = running.document
        found = running.cluster.stored[(PIPELINES, NAMESPACE, WEB)]
        found["spec"]["compression"] = "zstd"
        await running.settle()

        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "InvalidSpec")
        assert running.document == before


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


class TestEvents:
    async def test_readiness_is_announced_once(self, running: World) -> None:
        await running.settle()

        assert running.cluster.told(WEB) == ["Accepting"]
        assert running.cluster.told(SHOP).count("Accepting") == 1

    async def test_a_flip_is_announced_with_advice(self, running: World) -> None:
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()

        assert (WEB, "Warning", "DatabaseUnavailable") in {
            event[:3] for event in running.cluster.events
        }

    async def test_transition_times_move_only_on_flips(self, running: World) -> None:
        def times() -> dict[str, str]:
            conditions = running.cluster.status(PIPELINES, WEB)["conditions"]
            return {item["type"]: item["lastTransitionTime"] for item in conditions}

        before = times()
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()
        after = times()

        assert after["TopicsReady"] == before["TopicsReady"]
        assert after["SchemasReady"] > before["SchemasReady"]

    async def test_topics_are_made_in_one_go(self, running: World) -> None:
        made = [action.spec.name for action in running.kafka.done if isinstance(action, Create)]

        assert made == [running.topic(), names.dead_letter_topic(running.topic())]
