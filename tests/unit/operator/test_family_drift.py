"""What was changed or lost outside the specs: put back, or told where nobody may put it back."""

import dataclasses

import msgspec
import pytest
from argus_contract import keys as contract_keys
from argus_contract import names
from argus_operator.keys import SecretState
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.topics import TopicState

from tests.unit.operator.fakes import away
from tests.unit.operator.world import SECRET, SHOP, WEB, World


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
        running.database.positions[running.topic()] = 7
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
