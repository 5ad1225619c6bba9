"""A whole operator over fakes: apply resources, reconcile, look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from argus_contract import names
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import TenantDocument
from argus_operator.jobs import Template
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.family import FamilyReconciler
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.pipelines import PipelineStep
from argus_operator.reconcile.removal import Removal
from argus_operator.reconcile.replays import ReplayReconciler
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.tenants import KeyStep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family
from argus_operator.settings import Tier, Tiers
from argus_operator.topics import DiskBudget

from tests.unit.operator.fakes import (
    NAMESPACE,
    FakeCluster,
    FakeCounters,
    FakeJobs,
    FakeRegistry,
    FakeSchemas,
    FakeTopics,
    FakeUsage,
)

SHOP = "shop"
WEB = "web"
FAMILY = Family(NAMESPACE, SHOP)
SECRET = (NAMESPACE, names.key_secret(SHOP))
GIB = 1 << 30
TEMPLATE = Template(
    {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "argus", "labels": {"app.kubernetes.io/name": "argus"}},
        "spec": {"template": {"spec": {"containers": [{"name": "replay", "image": "argus"}]}}},
    }
)


@dataclass
class World:
    """The fakes and the reconciler over them."""

    disk: int | None = None
    cluster: FakeCluster = field(default_factory=FakeCluster)
    kafka: FakeTopics = field(default_factory=FakeTopics)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    database: FakeSchemas = field(default_factory=FakeSchemas)
    usage: FakeUsage = field(default_factory=FakeUsage)
    counters: FakeCounters = field(default_factory=FakeCounters)
    jobs: FakeJobs = field(default_factory=FakeJobs)
    tiers: Tiers = field(default_factory=lambda: {"standard": Tier()})
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __post_init__(self) -> None:
        budget = DiskBudget(self.disk, 1.0, 1)
        self.keeper = Bookkeeper(self.database)
        self.counters.usage = self.usage
        self.used = UsageBook(self.usage, self.database)
        health = Health(self.keeper)
        self.reconciler = FamilyReconciler(
            self.cluster,
            self.registry,
            self.database,
            KeyStep(self.cluster, self.registry, lambda: self.now),
            PipelineStep(self.kafka, self.database, health, budget, 1),
            health,
            Removal(self.cluster, self.kafka, self.database, self.counters, budget),
            StatusWriter(self.cluster, lambda: self.now),
            lambda: self.tiers,
            self.used,
            settle=3.0,
        )
        self.replays = ReplayReconciler(
            self.cluster, self.jobs, TEMPLATE, StatusWriter(self.cluster, lambda: self.now)
        )

    def tenant(self, spec: Mapping[str, Any] | None = None, **meta: Any) -> None:
        """Applies the tenant `shop`."""
        self.cluster.apply(TENANTS, SHOP, spec or {}, **meta)

    def pipeline(self, name: str = WEB, spec: Mapping[str, Any] | None = None, **meta: Any) -> None:
        """Applies a pipeline of the tenant `shop`."""
        self.cluster.apply(
            PIPELINES, name, {"tenantRef": {"name": SHOP}} | dict(spec or {}), **meta
        )

    async def reconcile(self, seconds: float = 60.0) -> Verdict:
        """One look, `seconds` after the one before."""
        self.now += timedelta(seconds=seconds)
        self.registry.now += seconds
        self.database.now = self.usage.now = self.now
        return await self.reconciler.reconcile(FAMILY)

    async def settle(self) -> None:
        """Looks until nothing more is asked for within the minute."""
        for _ in range(10):
            verdict = await self.reconcile()
            if not verdict.retry and (verdict.again_in or 3_600) > 60:
                return
        raise AssertionError("it does not settle")

    def uid(self, plural: str, name: str) -> str:
        """The uid of an object."""
        found: str = self.cluster.stored[(plural, NAMESPACE, name)]["metadata"]["uid"]
        return found

    @property
    def id(self) -> TenantId:
        """The id of the tenant `shop` as it is now."""
        return names.tenant_id(NAMESPACE, SHOP, self.uid(TENANTS, SHOP))

    @property
    def document(self) -> TenantDocument:
        """What pods know of the tenant `shop`."""
        return self.registry.held[self.id]

    def write_ledger(self, name: str = WEB, **fields: Any) -> None:
        """Sets fields of a pipeline's books."""
        self.database.written.setdefault(self.uid(PIPELINES, name), {}).update(fields)

    async def look(self) -> None:
        """What a round of the resync does: ledger and usage are read, and the family looked at."""
        self.now += timedelta(seconds=30)
        self.database.now = self.usage.now = self.now
        self.keeper.recall(await self.cluster.objects(PIPELINES))
        await self.keeper.refresh()
        await self.used.mark()
        await self.used.refresh(self.registry.documents)
        await self.reconcile(seconds=0)

    def topic(self, name: str = WEB) -> TopicName:
        """The topic of a pipeline."""
        return names.topic(NAMESPACE, name, self.uid(PIPELINES, name))

    def ready(self, plural: str = TENANTS, name: str = SHOP) -> tuple[str, str]:
        """Status and reason of Ready."""
        return self.cluster.condition(plural, name)
