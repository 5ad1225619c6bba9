"""Resources that cannot all have what they ask for, and who goes without."""

import pytest
from argus_operator import documents
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.unit.operator.world import GIB, SECRET, SHOP, WEB, World


class TestConflicts:
    async def test_the_older_default_wins(self, running: World) -> None:
        running.pipeline("zebra")
        await running.settle()

        assert running.ready(PIPELINES, "zebra") == ("False", "DefaultConflict")
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert [item.name for item in running.document.pipelines] == [WEB, "zebra"]

    async def test_more_schemas_than_a_record_takes_leave_what_is_published(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(documents, "MAX_DOCUMENT", 2_000)
        before = running.document
        schema = {"event": "signup", "jsonSchema": {"title": "x" * 2_000}}
        running.pipeline(spec={"validation": {"schemas": [schema]}})
        await running.settle()

        assert running.document == before
        for plural, name in ((TENANTS, SHOP), (PIPELINES, WEB)):
            found = running.cluster.condition(plural, name, "RegistryReady")
            assert found == ("False", "DocumentTooLarge")

    async def test_what_is_published_of_a_spec_that_cannot_be_applied_is_claimed(
        self, running: World
    ) -> None:
        running.pipeline("first", {"match": ["click"]})
        await running.settle()
        bad = {"schemas": [{"event": "click", "jsonSchema": {"type": "strin"}}]}
        running.pipeline("first", {"match": ["tap"], "validation": bad})
        running.pipeline("later", {"match": ["click"]})
        running.pipeline("other", {"match": ["tap"]})
        await running.settle()

        assert running.ready(PIPELINES, "first") == ("True", "Accepting")
        assert running.ready(PIPELINES, "later") == ("False", "MatchConflict")
        assert running.ready(PIPELINES, "other") == ("True", "Accepting")

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
