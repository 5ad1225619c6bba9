"""Topics that another looks after, and a Kafka that denies what ARGUS needs for its own."""

import pytest
from argus_contract.names import TopicName
from argus_operator.errors import RefusedError
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.topics import TopicState

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import WEB, World

EVENTS, LETTERS = TopicName("shop-events"), TopicName("shop-letters")
EXTERNAL = {"topic": {"external": {"name": EVENTS, "deadLetterName": LETTERS}}}


async def external(world: World, policy: str = "Retain") -> World:
    """A pipeline over topics of which Kafka tells nothing but that they are there."""
    world.kafka.topics |= {
        EVENTS: TopicState(2, {}, readable=False),
        LETTERS: TopicState(1, {}, readable=False),
    }
    world.tenant()
    world.pipeline(spec=EXTERNAL | {"deletionPolicy": policy})
    await world.settle()
    return world


class TestExternal:
    async def test_what_kafka_does_not_tell_is_taken_from_the_spec(self, world: World) -> None:
        await external(world)
        [known] = world.document.pipelines

        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")
        assert (known.topic, known.dead_letter_topic, known.partitions) == (EVENTS, LETTERS, 2)
        assert (known.retention_bytes, known.retention_seconds) == (1 << 30, 168 * 3_600)
        assert not world.kafka.done

    async def test_the_disk_that_it_is_on_is_not_ours_to_count(self) -> None:
        world = await external(World(disk=1 << 20))

        assert world.ready(PIPELINES, WEB) == ("True", "Accepting")

    @pytest.mark.parametrize("policy", ["Retain", "Delete"])
    async def test_deletion_says_what_it_left_and_waits_for_no_kafka(
        self, world: World, policy: str
    ) -> None:
        await external(world, policy)
        id_ = world.id
        world.cluster.delete(PIPELINES, WEB)
        world.kafka.error = away("KafkaUnavailable")
        await world.settle()

        assert (PIPELINES, NAMESPACE, WEB) not in world.cluster.stored
        assert set(world.kafka.topics) == {EVENTS, LETTERS}
        assert f"topics {EVENTS} and {LETTERS} are left" in world.cluster.notes(WEB)[-1]
        dropped = [(id_, WEB, EVENTS, 2)] if policy == "Delete" else []
        assert world.counters.dropped == dropped

    async def test_a_topic_that_may_not_be_seen_keeps_what_was_published(
        self, world: World
    ) -> None:
        await external(world)
        before = world.document
        world.kafka.error = RefusedError("KafkaForbidden", "grant Read")
        verdict = await world.reconcile()

        assert verdict.retry
        assert world.cluster.condition(PIPELINES, WEB, "TopicsReady") == ("False", "KafkaForbidden")
        assert world.document == before


class TestForbidden:
    async def test_a_topic_of_ours_whose_configuration_is_not_told_is_left_alone(
        self, running: World
    ) -> None:
        topic, before, done = running.topic(), running.document, len(running.kafka.done)
        running.kafka.topics[topic] = TopicState(1, {}, readable=False)
        verdict = await running.reconcile()

        assert verdict.retry
        assert running.cluster.condition(PIPELINES, WEB, "TopicsReady") == (
            "False",
            "KafkaForbidden",
        )
        assert len(running.kafka.done) == done
        assert running.document == before

    async def test_a_spec_that_is_not_understood_is_retained_with_the_topics_of_its_status(
        self, world: World
    ) -> None:
        await external(world)
        world.cluster.stored[(PIPELINES, NAMESPACE, WEB)]["spec"]["newer"] = True
        world.cluster.delete(PIPELINES, WEB)
        await world.settle()

        assert f"topics {EVENTS}, {LETTERS}" in world.cluster.notes(WEB)[-1]
