"""A tenant with its pipelines, from states and events to what must hold afterwards."""

from typing import Any

import pytest
from argus_contract import keys as contract_keys
from argus_contract import names
from argus_operator.errors import BusyError
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.topics import Backlog

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import GIB, SECRET, SHOP, WEB, World


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
                "id": f"default.{key.hash[:8]}",
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
