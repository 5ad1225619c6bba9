"""The stage over the unit tests' fakes: they are the world, and outlive every operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from argus_contract.keys import KeyHash, hash_key
from argus_contract.names import TenantId
from argus_contract.quotas import Usage, day_of, month_of
from argus_contract.registry import TenantDocument
from argus_contract.times import to_micros
from argus_operator.models.common import Raw
from argus_operator.ports import Cluster, CounterStore, Registry, Schemas, Topics, UsageStore
from argus_operator.resources import Family
from argus_operator.schemas import PipelineObserved
from argus_operator.settings import Tier
from argus_operator.tiers import TierBook
from argus_operator.topics import Action

from tests.integration.operator.crash.tripwire import Engine, Tripwire
from tests.integration.operator.stage import TIERS, Stage, coroutines, resync
from tests.unit.operator.fakes import NAMESPACE, FakeRegistry, FakeSchemas, FakeTopics, away
from tests.unit.operator.world import SECRET, World


class OneByOne(FakeTopics):
    """As the real broker is asked: each action is a request of its own."""

    async def apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            await self.act(action)

    async def act(self, action: Action) -> None:
        """One request."""
        await super().apply([action])


@dataclass
class BegunRegistry(FakeRegistry):
    """What a process has of the registry that began at `began`: it wrote nothing of it."""

    began: float = 0.0

    def settled(self, tenant: TenantId, seconds: float) -> bool:
        return self.now - self.written.get(tenant, self.began) >= seconds


class FakeStage(Stage):
    """Fakes, and the operator over them."""

    def __init__(self) -> None:
        self.namespace = NAMESPACE
        self.wire = Tripwire()
        self.uids = []
        self.keys_before = {}
        self.world = World(kafka=OneByOne(), tiers=TIERS)
        self.kafka = FakeTopics(topics=self.world.kafka.topics)
        self._counted: set[tuple[TenantId, str]] = set()
        self._woken: list[Family] = []
        self._guard()
        self._begin()

    def _guard(self) -> None:
        world, down, guard = self.world, away("Away"), self.wire.guard
        loud = [name for name in coroutines(Cluster) if name != "post_event"]
        guard(world.cluster, loud, Engine.KUBERNETES, down)
        guard(world.cluster, ["post_event"], Engine.KUBERNETES, None)
        asked = [name for name in coroutines(Topics) if name != "apply"]
        guard(world.kafka, [*asked, "act"], Engine.KAFKA, down)
        guard(world.database, coroutines(Schemas), Engine.POSTGRES, down)
        guard(world.counters, coroutines(CounterStore), Engine.REDIS, down)
        guard(world.usage, coroutines(UsageStore), Engine.REDIS, down)

    def _begin(self) -> None:
        """What is a process's own: its reconciler, and what it remembers of the registry."""
        old = self.world.registry
        registry = BegunRegistry(
            held=old.held, revision=old.revision, expected=None, now=old.now, began=old.now
        )
        asked = [*coroutines(Registry), "_write"]
        self.wire.guard(registry, asked, Engine.KAFKA, away("Away"))
        self.world = world = replace(self.world, registry=registry)
        self._resync, self._sweep = resync(
            world.cluster,
            world.registry,
            world.kafka,
            world.database,
            world.keeper,
            world.replays,
            self._woken.append,
            world.reconciler.reconcile,
            TierBook(lambda: world.tiers),
            world.used,
        )

    async def apply(self, plural: str, name: str, spec: Mapping[str, object]) -> None:
        self.note(plural, self.world.cluster.apply(plural, name, spec))

    async def annotate(self, plural: str, name: str, **annotations: str | None) -> None:
        found = await self.present(plural, name)
        named = {f"argus.dev/{key}": value for key, value in annotations.items()}
        merged = found["metadata"].get("annotations", {}) | named
        kept = {key: value for key, value in merged.items() if value is not None}
        self.world.cluster.apply(plural, name, found["spec"], annotations=kept)

    async def delete(self, plural: str, name: str) -> None:
        self.world.cluster.delete(plural, name)

    async def write_secret(self, data: Mapping[str, str] | None) -> None:
        held = self.world.cluster.secrets.pop(SECRET)
        if data is not None:
            changed = replace(held, resource_version=f"{held.resource_version}.1", data=data)
            self.world.cluster.secrets[SECRET] = changed

    async def collect(self) -> None:
        self.world.cluster.secrets.pop(SECRET, None)

    async def count(self, pipeline: str) -> None:
        self._counted.add((await self.id(), pipeline))

    async def define_tiers(self, tiers: Mapping[str, Mapping[str, Any]]) -> None:
        self.world.tiers = {name: Tier.model_validate(tier) for name, tier in tiers.items()}

    async def send(self, pipeline: str, sent: int, counted: int) -> None:
        self.world.write_ledger(pipeline, log_end=sent)
        now = to_micros(self.world.now)
        usage = Usage(day_of(now), counted, month_of(now), counted)
        self.world.usage.usage[await self.id()] = usage

    async def lose_usage(self) -> None:
        del self.world.usage.usage[await self.id()]

    async def use_key(self, name: str, moment: datetime) -> None:
        hash_ = hash_key(self.world.cluster.secrets[SECRET].data[name])
        minute = int(moment.timestamp()) // 60
        self.world.usage.used.setdefault(await self.id(), {})[hash_] = minute

    async def lose_table(self, uid: str) -> None:
        del self.world.database.pipelines[uid]

    async def lose_document(self, tenant: TenantId) -> None:
        del self.world.registry.held[tenant]

    async def tick(self) -> None:
        """Each object that the fake makes is a second younger than the one before."""

    async def object(self, plural: str, name: str) -> Raw | None:
        return self.world.cluster.stored.get((plural, NAMESPACE, name))

    async def secret(self) -> Mapping[str, str] | None:
        held = self.world.cluster.secrets.get(SECRET)
        return None if held is None else held.data

    async def events(self, name: str) -> list[str]:
        return self.world.cluster.told(name)

    async def documents(self) -> tuple[Mapping[TenantId, TenantDocument], bool]:
        registry = self.world.registry
        return registry.held, registry.expected is not None and registry.expected <= set(
            registry.held
        )

    async def tables(self, uid: str) -> PipelineObserved:
        return await FakeSchemas.observe_pipeline(self.world.database, uid)  # not the operator's

    async def tenants(self) -> Mapping[str, bool]:
        database = self.world.database
        return {id_: id_ in database.retained_tenants for id_ in database.tenants}

    async def counters(self) -> Sequence[str]:
        gone = {(tenant, pipeline) for tenant, pipeline, *_ in self.world.counters.dropped}
        return sorted(pipeline for _, pipeline in self._counted - gone)

    async def usage(self, tenant: TenantId) -> Usage | None:
        return self.world.usage.usage.get(tenant)

    async def used(self, tenant: TenantId) -> Mapping[KeyHash, int]:
        return self.world.usage.used.get(tenant, {})

    async def pass_time(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)
        self.world.registry.now += seconds
        self.world.database.now = self.world.usage.now = self.world.now

    async def restart(self) -> None:
        self.wire.rest()
        self._begin()
