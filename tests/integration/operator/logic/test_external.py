"""Topics that somebody else made: taken as they are, and left so."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from argus_contract.names import TopicName
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.topics import Action, Configure, Create, Grow, TopicSpec

from tests.integration.operator.stage import Stage
from tests.integration.operator.waiting import eventually
from tests.unit.operator.world import WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

CONFIGS = {"cleanup.policy": "delete", "retention.ms": "7200000", "max.message.bytes": "1048588"}


class Owner:
    """Who looks after two topics, and gives them to the pipeline `web`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.events = TopicName(f"events-of-{stage.namespace}")
        self.letters = TopicName(f"letters-of-{stage.namespace}")

    async def do(self, *actions: Action) -> None:
        """Changes topics."""
        await self.stage.kafka.apply(list(actions))

    async def make(self, partitions: int = 3) -> None:
        """Makes both."""
        await self.do(
            Create(TopicSpec(self.events, partitions, CONFIGS)),
            Create(TopicSpec(self.letters, 1, CONFIGS)),
        )

    async def ask(self, **spec: Any) -> None:
        """Applies the tenant, and the pipeline with these topics."""
        await self.stage.tenant()
        await self.apply(**spec)

    async def apply(self, **spec: Any) -> None:
        """Applies the pipeline."""
        external = {"name": self.events, "deadLetterName": self.letters}
        await self.stage.pipeline(topic={"external": external}, **spec)

    async def told(self) -> tuple[str, str]:
        """What the pipeline says of its topics."""
        return await self.stage.condition(PIPELINES, WEB, "TopicsReady")

    async def drop(self) -> None:
        """Takes both away."""
        await self.stage.kafka.delete([self.events, self.letters])


@pytest_asyncio.fixture(loop_scope="session")
async def owner(stage: Stage) -> AsyncIterator[Owner]:
    """Topics are removed at the end."""
    made = Owner(stage)
    yield made
    await made.drop()


class TestExternal:
    async def test_topics_of_another_are_used_and_none_is_made(
        self, stage: Stage, owner: Owner
    ) -> None:
        await owner.make()
        before = await stage.kafka.observe([owner.events, owner.letters])
        await owner.ask()
        await stage.settle()
        [known] = (await stage.document()).pipelines

        assert await stage.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert (known.topic, known.dead_letter_topic) == (owner.events, owner.letters)
        assert (known.partitions, known.retention_seconds) == (3, 7_200)
        assert (await stage.tables(await stage.uid(PIPELINES, WEB))).partitions == 3
        assert await stage.kafka.observe([owner.events, owner.letters]) == before
        assert not await stage.topics()

    async def test_a_topic_that_is_missing_is_waited_for(self, stage: Stage, owner: Owner) -> None:
        await owner.ask()
        await stage.look()
        assert await owner.told() == ("False", "TopicMissing")
        assert (await stage.document()).pipelines == ()

        await owner.make()
        await stage.settle()
        assert await stage.condition(PIPELINES, WEB) == ("True", "Accepting")

    async def test_a_topic_that_would_lose_records_is_refused(
        self, stage: Stage, owner: Owner
    ) -> None:
        await owner.make()
        await owner.do(Configure(owner.events, CONFIGS | {"cleanup.policy": "compact"}))

        async def refused() -> bool:
            """A broker may hear of new configuration a moment after it was acknowledged."""
            await stage.look()
            return await owner.told() == ("False", "TopicUnsuitable")

        await owner.ask()
        await eventually(refused, 5)
        assert (await stage.document()).pipelines == ()

    async def test_what_its_owner_takes_away_stays_published_until_it_is_back(
        self, stage: Stage, owner: Owner
    ) -> None:
        await owner.make()
        await owner.ask()
        await stage.settle()
        before = await stage.document()
        await owner.drop()
        await stage.look()
        assert await owner.told() == ("False", "TopicMissing")
        assert (await stage.document()).pipelines == before.pipelines
        assert not await stage.topics()

        await owner.make()
        await stage.settle()
        assert await owner.told() == ("True", "TopicsExist")

    async def test_a_round_sees_what_its_owner_changes_and_at_rest_wakes_nobody(
        self, stage: Stage, owner: Owner
    ) -> None:
        await owner.make()
        await owner.ask()
        for _ in range(2):
            await stage.settle()
        assert await stage.woken() == set()

        await owner.do(Grow(owner.events, 4))
        assert await stage.woken() == {stage.family}
        await stage.settle()
        assert [item.partitions for item in (await stage.document()).pipelines] == [4]

    @pytest.mark.parametrize("policy", ["Retain", "Delete"])
    async def test_deletion_leaves_them_to_their_owner(
        self, stage: Stage, owner: Owner, policy: str
    ) -> None:
        await owner.make()
        await owner.ask(deletionPolicy=policy)
        await stage.settle()
        uid = await stage.uid(PIPELINES, WEB)
        await stage.delete(PIPELINES, WEB)
        await stage.settle()

        assert await stage.object(PIPELINES, WEB) is None
        assert len(await stage.kafka.observe([owner.events, owner.letters])) == 2
        left = await stage.tables(uid)
        assert (left.events_table is not None, left.retained) == ((policy == "Retain"),) * 2

    async def test_deletion_asks_nothing_of_topics_that_are_gone(
        self, stage: Stage, owner: Owner
    ) -> None:
        await owner.make()
        await owner.ask(deletionPolicy="Delete")
        await stage.settle()
        await owner.drop()
        await stage.delete(PIPELINES, WEB)
        await stage.settle()

        assert await stage.object(PIPELINES, WEB) is None
