"""What the status and the events tell of a tenant and its pipelines."""

from argus_contract import names
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.topics import Create

from tests.unit.operator.fakes import away
from tests.unit.operator.world import SHOP, WEB, World


class TestEvents:
    async def test_readiness_is_announced_once(self, running: World) -> None:
        await running.settle()

        assert running.cluster.told(WEB) == ["Accepting"]
        assert running.cluster.told(SHOP).count("Accepting") == 1

    async def test_a_flip_is_announced_with_advice(self, running: World) -> None:
        running.kafka.error = away("KafkaUnavailable")
        await running.reconcile()

        assert (WEB, "Warning", "KafkaUnavailable") in {
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
