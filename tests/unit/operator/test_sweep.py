"""Whom a round of the resync has to look at, and whom it may leave alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from argus_operator.errors import UnavailableError
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.sweep import Seen, Sweep
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family
from argus_operator.topics import TopicState

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import FAMILY, SECRET, SHOP, WEB, World

FULL = 600.0


@dataclass
class Swept:
    """A sweep over a world, with a clock of its own."""

    world: World
    now: float = 1_000.0
    scripted: list[Verdict] = field(default_factory=list)
    """Verdicts of the next looks, in place of the world's."""

    def __post_init__(self) -> None:
        health = Health(self.world.keeper)
        world = self.world
        self.sweep = Sweep(
            self._reconcile, health, lambda: world.tiers, world.used, FULL, lambda: self.now
        )

    async def _reconcile(self, family: Family) -> Verdict:
        if self.scripted:
            return self.scripted.pop(0)
        return await self.world.reconciler.reconcile(family)

    async def see(self, **changed: Any) -> Seen:
        """What a round sees now."""
        world = self.world
        self.now += 30
        world.keeper.recall(await world.cluster.objects(PIPELINES))
        await world.keeper.refresh()
        await world.used.refresh(world.registry.documents)
        facts: dict[str, Any] = {
            "at": self.now,
            "tenants": await world.cluster.objects(TENANTS),
            "pipelines": await world.cluster.objects(PIPELINES),
            "documents": dict(world.registry.documents),
            "topics": await world.kafka.matching("argus."),
            "sightings": await world.database.sightings(),
        }
        return Seen(**(facts | changed))

    async def round(self, **changed: Any) -> list[Family]:
        """One round, and a look at whom it found due."""
        due = self.sweep.due(await self.see(**changed))
        self.now += 1
        for family in due:
            await self.sweep.reconcile(family)
        return due

    async def rest(self) -> None:
        """Rounds until one finds nobody due."""
        for _ in range(5):
            if not await self.round():
                return
        raise AssertionError("it never rests")


@pytest.fixture
async def swept(running: World) -> Swept:
    made = Swept(running)
    await made.rest()
    return made


async def test_at_rest_nobody_is_looked_at(swept: Swept) -> None:
    assert [await swept.round() for _ in range(5)] == [[]] * 5


def lose_topic(world: World) -> None:
    del world.kafka.topics[world.topic()]


def set_config(world: World) -> None:
    world.kafka.topics[world.topic()] = TopicState(1, {"retention.ms": "1"})


def lose_tables(world: World) -> None:
    world.database.pipelines.clear()


def lose_schema(world: World) -> None:
    world.database.tenants.clear()
    world.database.pipelines.clear()


def lose_document(world: World) -> None:
    world.registry.held.clear()


DRIFT: Mapping[str, Callable[[World], None]] = {
    "topic": lose_topic,
    "config": set_config,
    "tables": lose_tables,
    "schema": lose_schema,
    "document": lose_document,
}


@pytest.mark.parametrize("drift", DRIFT.values(), ids=DRIFT)
async def test_the_same_drift_made_twice_is_repaired_twice(
    swept: Swept, drift: Callable[[World], None]
) -> None:
    """Each time before the next round, so that two rounds see the very same."""
    for _ in range(3):
        drift(swept.world)
        assert await swept.round() == [FAMILY]

    await swept.rest()
    assert swept.world.topic() in swept.world.kafka.topics
    assert swept.world.kafka.topics[swept.world.topic()].configs["retention.ms"] != "1"
    assert set(swept.world.database.tenants) == set(swept.world.registry.held) == {swept.world.id}
    assert set(swept.world.database.pipelines) == {swept.world.uid(PIPELINES, WEB)}


def change_spec(world: World) -> None:
    world.tenant({"suspended": True})


def change_pipeline(world: World) -> None:
    world.pipeline(WEB, {"topic": {"partitions": 2}})


def add_pipeline(world: World) -> None:
    world.pipeline("other", {"match": ["click"]})


def remove_pipeline(world: World) -> None:
    world.cluster.delete(PIPELINES, WEB)


def send_events(world: World) -> None:
    world.write_ledger(log_end=5, in_flight=5)


CHANGES: Mapping[str, Callable[[World], None]] = {
    "tenant": change_spec,
    "pipeline": change_pipeline,
    "another": add_pipeline,
    "deleted": remove_pipeline,
    "figures": send_events,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_that_the_watch_missed_is_seen_by_the_next_round(
    swept: Swept, change: Callable[[World], None]
) -> None:
    change(swept.world)

    assert await swept.round() == [FAMILY]


@pytest.mark.parametrize("unread", ["topics", "sightings"])
async def test_what_could_not_be_read_is_equal_to_nothing(swept: Swept, unread: str) -> None:
    for _ in range(3):
        assert await swept.round(**{unread: None}) == [FAMILY]


async def test_a_ledger_that_could_not_be_read_is_equal_to_nothing(swept: Swept) -> None:
    seen = await swept.see()
    swept.world.database.error = away("DatabaseUnavailable")
    with pytest.raises(UnavailableError):
        await swept.world.keeper.refresh()

    assert swept.sweep.due(seen) == [FAMILY]


@pytest.mark.parametrize(
    "verdict", [Verdict(retry=True), Verdict(acted=True), Verdict(failed=True)]
)
async def test_a_look_that_is_not_quiet_vouches_for_nothing(swept: Swept, verdict: Verdict) -> None:
    swept.now += FULL
    swept.scripted = [verdict]
    assert await swept.round() == [FAMILY]
    assert await swept.round() == [FAMILY]
    assert await swept.round() == []


async def test_a_look_that_fails_vouches_for_nothing(swept: Swept) -> None:
    swept.now += FULL
    swept.world.cluster.error = away("KubernetesUnavailable")
    with pytest.raises(UnavailableError):
        await swept.sweep.reconcile(FAMILY)
    swept.world.cluster.error = None

    assert await swept.round() == [FAMILY]


async def test_a_look_vouches_only_for_what_was_seen_after_the_last_write(swept: Swept) -> None:
    """A look that began before the round repairs what the round saw broken."""
    lose_topic(swept.world)
    set_config(swept.world)
    broken = await swept.see()
    swept.sweep.due(broken)
    swept.sweep._offers.clear()  # the look that is under way was offered nothing
    swept.now += 1
    await swept.sweep.reconcile(FAMILY)
    swept.sweep.due(broken)  # the round ends only now
    await swept.sweep.reconcile(FAMILY)
    set_config(swept.world)

    assert await swept.round() == [FAMILY]


async def test_what_falls_due_is_looked_at_then(swept: Swept) -> None:
    swept.now += FULL
    swept.scripted = [Verdict(again_in=70)]
    assert await swept.round() == [FAMILY]

    assert [await swept.round() for _ in range(3)] == [[], [], [FAMILY]]


async def test_everybody_is_looked_at_once_in_the_interval_of_the_full_pass(swept: Swept) -> None:
    looks = [bool(await swept.round()) for _ in range(200)]

    assert len(looks) * 31 / FULL == pytest.approx(sum(looks), abs=1)


async def test_full_passes_are_spread(world: World) -> None:
    names = [f"shop-{number}" for number in range(100)]
    for name in names:
        world.cluster.apply(TENANTS, name, {})
    swept = Swept(world)
    swept.scripted = [Verdict()] * 10_000
    for raw in await world.cluster.objects(TENANTS):
        world.cluster.stored[(TENANTS, NAMESPACE, raw["metadata"]["name"])]["status"] = {"id": "x"}
    sightings = {"x": "there"}
    rounds = [len(await swept.round(sightings=sightings)) for _ in range(40)]

    assert rounds[0] == len(names)
    assert max(rounds[1:]) < 20


async def test_whoever_is_gone_is_forgotten(swept: Swept) -> None:
    swept.sweep.due(await swept.see(tenants=[], pipelines=[], documents={}))

    assert not swept.sweep._proofs
    assert not swept.sweep._unsettled


async def test_a_tenant_that_is_paused_rests_too(swept: Swept) -> None:
    swept.world.tenant(annotations={"argus.dev/paused": "true"})
    await swept.rest()
    assert await swept.round() == []

    del swept.world.cluster.secrets[SECRET]
    swept.world.tenant(annotations={})
    assert await swept.round() == [FAMILY]
    assert SECRET in swept.world.cluster.secrets
    assert swept.world.ready(TENANTS, SHOP) == ("True", "Accepting")
