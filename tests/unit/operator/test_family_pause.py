"""What the operator leaves alone: paused resources, and specs that it cannot read."""

from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.unit.operator.fakes import NAMESPACE
from tests.unit.operator.world import SHOP, WEB, World


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
