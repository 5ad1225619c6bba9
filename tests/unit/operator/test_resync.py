"""The periodic look at everything."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.replay import PLURAL as REPLAYS
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.sweep import Sweep
from argus_operator.resources import Family, ReplayKey
from argus_operator.resync import Resync
from argus_operator.settings import ResyncSettings
from argus_operator.tiers import TierBook
from argus_operator.topics import DiskBudget
from prometheus_client import REGISTRY

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.waiting import until
from tests.unit.operator.world import FAMILY, SHOP, WEB, World

SETTINGS = ResyncSettings(interval=0.01, expire_interval=0.01, stalled_after=0.05)


class Watched:
    """A resync over a world, and whom it woke."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.woken: list[Family] = []
        self.replays: list[ReplayKey] = []
        self.listed: list[tuple[str, int]] = []
        self.budget = DiskBudget(1 << 40, 1.0, 1)
        self.tiers = TierBook(lambda: world.tiers)
        self.sweep = Sweep(
            world.reconciler.reconcile, Health(world.keeper), self.tiers, world.used, full=600
        )
        self.resync = Resync(
            world.cluster,
            world.registry,
            world.kafka,
            world.database,
            world.keeper,
            self.budget,
            self.woken.append,
            world.replays,
            self.replays.append,
            self.sweep,
            self.tiers,
            world.used,
            lambda plural, found: self.listed.append((plural, len(found))),
            SETTINGS,
        )

    async def look(self) -> list[Family]:
        """One round, and a look at whom it woke."""
        self.woken.clear()
        await self.resync.round()
        for family in self.woken:
            await self.sweep.reconcile(family)
        return list(self.woken)


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs a supervised task while the block does."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
async def watched() -> Watched:
    world = World()
    world.tenant()
    world.pipeline()
    await world.settle()
    return Watched(world)


async def test_a_round_wakes_every_family(watched: Watched) -> None:
    watched.world.cluster.apply(PIPELINES, "stray", {"tenantRef": {"name": "nobody"}})
    await watched.resync.round()

    assert set(watched.woken) == {FAMILY, Family(NAMESPACE, "nobody")}
    assert watched.resync.complete


async def test_a_round_wakes_a_family_that_only_the_registry_knows(watched: Watched) -> None:
    watched.world.cluster.stored.clear()
    await watched.resync.round()

    assert watched.woken == [FAMILY]


async def test_at_rest_a_round_wakes_nobody_and_asks_for_nothing_by_name(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    while await watched.look():
        pass
    asked: list[str] = []
    for adapter, call in (
        (watched.world.cluster, "get"),
        (watched.world.cluster, "get_secret"),
        (watched.world.kafka, "observe"),
        (watched.world.database, "observe_pipeline"),
        (watched.world.database, "ensure_tenant"),
    ):
        monkeypatch.setattr(adapter, call, lambda *_, call=call: asked.append(call))

    assert [await watched.look() for _ in range(3)] == [[], [], []]
    assert not asked


async def test_a_round_says_what_it_listed(watched: Watched) -> None:
    await watched.resync.round()

    assert watched.listed == [(TENANTS, 1), (PIPELINES, 1)]


@pytest.mark.parametrize("adapter", ["kafka", "registry", "database"])
async def test_what_cannot_be_read_wakes_all_even_at_rest(watched: Watched, adapter: str) -> None:
    while await watched.look():
        pass
    getattr(watched.world, adapter).error = away("Away")
    await watched.resync.round()

    assert watched.woken == [FAMILY]


async def test_a_round_wakes_replays_that_are_not_over(watched: Watched) -> None:
    for name in ("first", "second"):
        watched.world.cluster.apply(REPLAYS, name, {"pipelineRef": {"name": WEB}})
    await watched.resync.round()
    assert watched.replays == [ReplayKey(NAMESPACE, "first"), ReplayKey(NAMESPACE, "second")]


async def test_a_cluster_that_knows_no_replays_stops_no_round(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = watched.world.cluster.objects

    async def without_replays(plural: str, namespace: str | None = None) -> list[Raw]:
        if plural == REPLAYS:
            raise away("KubernetesRefused")
        return await listed(plural, namespace)

    monkeypatch.setattr(watched.world.cluster, "objects", without_replays)
    await watched.resync.round()

    assert watched.woken == [FAMILY]
    assert watched.resync.complete


async def test_a_round_publishes_the_marker_and_takes_stock(watched: Watched) -> None:
    await watched.resync.round()

    assert watched.world.registry.marks == 1
    assert watched.budget.asked == (1 << 30) + (1 << 27)


async def test_the_marker_waits_for_tenants_that_pods_know(watched: Watched) -> None:
    watched.world.registry.held.clear()
    await watched.resync.round()

    assert watched.world.registry.marks == 0
    assert watched.woken == [FAMILY]


async def test_a_tenant_that_is_leaving_is_not_waited_for(watched: Watched) -> None:
    watched.world.cluster.delete(TENANTS, SHOP)
    await watched.resync.round()

    assert watched.world.registry.expected == set()


@pytest.mark.parametrize("adapter", ["kafka", "registry"])
async def test_kafka_away_stops_no_round(watched: Watched, adapter: str) -> None:
    getattr(watched.world, adapter).error = away("KafkaUnavailable")
    await watched.resync.round()

    assert watched.woken == [FAMILY]


async def test_the_marker_does_not_wait_for_the_next_round_when_kafka_comes(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argus_operator.resync._RETRY_S", 0.01)
    watched.resync._settings = ResyncSettings(interval=60)
    watched.world.registry.error = away("KafkaUnavailable")
    async with running(watched.resync.run()):
        await until(lambda: bool(watched.woken))
        watched.world.registry.error = None
        await until(lambda: watched.world.registry.marks == 1)

    assert watched.woken == [FAMILY]


async def test_rounds_go_on_after_a_failure(watched: Watched) -> None:
    watched.world.cluster.error = away("KubernetesUnavailable")
    async with running(watched.resync.run()):
        await asyncio.sleep(0.02)
        assert not watched.woken
        assert watched.resync.stalled() is None

        watched.world.cluster.error = None
        await until(lambda: bool(watched.woken))


async def test_rounds_that_fail_are_no_look_at_everything(watched: Watched) -> None:
    def age() -> float:
        assert watched.resync.stalled() is None
        found = REGISTRY.get_sample_value("argus_operator_resync_age_seconds")
        assert found is not None
        return found

    watched.resync._settings = ResyncSettings(interval=0.01)
    await watched.resync.round()
    watched.world.cluster.error = away("KubernetesUnavailable")
    async with running(watched.resync.run()):
        await until(lambda: age() > 0.2)

        watched.world.cluster.error = None
        await until(lambda: age() < 0.2)


async def test_without_rounds_the_process_is_not_alive(watched: Watched) -> None:
    assert watched.resync.stalled() is None
    await asyncio.sleep(2 * SETTINGS.stalled_after)

    assert "no round" in (watched.resync.stalled() or "")


async def test_rows_are_expired_pipeline_by_pipeline(watched: Watched) -> None:
    await watched.resync.round()
    uid = watched.world.uid(PIPELINES, WEB)
    expired = watched.world.database.expired

    async with running(watched.resync.expire()):
        await until(lambda: expired.count(uid) >= 2)


async def test_a_pipeline_that_cannot_be_expired_is_tried_again(watched: Watched) -> None:
    await watched.resync.round()
    database = watched.world.database
    database.error = away("DatabaseUnavailable")
    async with running(watched.resync.expire()):
        await asyncio.sleep(0.03)
        database.error = None
        await until(lambda: bool(database.expired))
