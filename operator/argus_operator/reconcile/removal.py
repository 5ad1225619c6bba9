"""What deleting a resource does: keep the data with Retain, drop it with Delete.

By then the registry names the resource no more and pods have heard of it. Only after all is done
does the finalizer go; whatever fails, it stays and the whole is tried again. A deletion that is
forced passes over engines that are away, and an Event says what was left there.
"""

from collections.abc import Sequence
from typing import Final

from argus_contract import names
from argus_contract.names import TenantId

from argus_operator.models import units
from argus_operator.models.common import FORCE, DeletionPolicy
from argus_operator.ports import Cluster, CounterStore, Schemas, Topics
from argus_operator.reconcile import repairs
from argus_operator.reconcile.leftovers import Leftovers
from argus_operator.reconcile.status import NORMAL, WARNING
from argus_operator.resources import Pipeline, Tenant
from argus_operator.schemas import PipelineObserved
from argus_operator.topics import DiskBudget, TopicState

_UNTOLD: Final = "taken out once Kafka answers"


class Removal:
    """Takes away, or keeps, what a resource owned."""

    def __init__(
        self,
        cluster: Cluster,
        kafka: Topics,
        database: Schemas,
        counters: CounterStore,
        budget: DiskBudget,
    ) -> None:
        self._cluster = cluster
        self._kafka = kafka
        self._database = database
        self._counters = counters
        self._budget = budget

    async def pipeline(
        self, pipeline: Pipeline, tenant: TenantId | None, *, untold: bool = False
    ) -> None:
        """Keeps or drops a pipeline's topics, tables and counters, then lets it go.

        `untold`: its deletion is forced, and the registry still names it.
        Raises OperatorError where something is still to be done.
        """
        repairs.note("removal")
        left = Leftovers(pipeline.meta.forced)
        left.note_if(untold, f"its entry in the registry, {_UNTOLD}")
        if pipeline.retains:
            reason, note = "Retained", await self._retain(pipeline, left)
        else:
            reason, note = "Deleted", await self._drop(pipeline, tenant, left)
        await self._let_go(pipeline, reason, note, left)

    async def _retain(self, pipeline: Pipeline, left: Leftovers) -> str:
        meta = pipeline.meta
        by_hand = f"its tables in use, run SELECT argus.retain_pipeline('{meta.uid}')"
        await left.unless(self._database.retain_pipeline(meta.uid), by_hand, None)
        observe = self._database.observe_pipeline(meta.uid)
        kept = await left.unless(observe, "", PipelineObserved())
        rows = f"table {kept.schema}.{kept.events_table}" if kept.events_table else "no table"
        if pipeline.external:
            return f"deletionPolicy is Retain: kept {rows}; {_theirs(pipeline)}"
        both = pipeline.logs.both
        logs = f"topics {' and '.join(both)} unseen"
        topics = await left.unless(self._kafka.observe(both), logs, {})
        found = f"topics {', '.join(sorted(topics))}" if topics else "no topic"
        return f"deletionPolicy is Retain: kept {rows} and {found}"

    async def _drop(self, pipeline: Pipeline, tenant: TenantId | None, left: Leftovers) -> str:
        if pipeline.external:
            return await self._leave(pipeline, tenant, left)
        topic, _ = both = pipeline.logs.both
        logs = f"topics {' and '.join(both)}, delete them in Kafka"
        observed = await left.unless(self._kafka.observe(both), logs, {})
        partitions = _partitions(pipeline, observed.get(topic), left)
        await self._forget(pipeline, tenant, partitions, left)
        if observed:
            await left.unless(self._kafka.delete(list(observed)), logs, None)
        self._budget.release(both)
        freed = units.in_words(sum(state.retention_bytes for state in observed.values()))
        return f"deletionPolicy is Delete: dropped its tables, counters and topics (up to {freed})"

    async def _leave(self, pipeline: Pipeline, tenant: TenantId | None, left: Leftovers) -> str:
        """Kafka is not asked: what may have become of another's topics holds up no deletion."""
        await self._forget(pipeline, tenant, pipeline.status.get("partitions", 0), left)
        return f"deletionPolicy is Delete: dropped its tables and counters; {_theirs(pipeline)}"

    async def _forget(
        self, pipeline: Pipeline, tenant: TenantId | None, partitions: int, left: Leftovers
    ) -> None:
        """Drops what Redis and PostgreSQL have of it."""
        meta = pipeline.meta
        if tenant is not None and partitions:
            drop = self._counters.drop(tenant, meta.name, pipeline.logs.events, partitions)
            await left.unless(drop, f"Redis keys {{{tenant}}}:* of {meta.name}", None)
        by_hand = f"its tables, run SELECT argus.drop_pipeline('{meta.uid}')"
        await left.unless(self._database.drop_pipeline(meta.uid), by_hand, None)

    async def tenant(
        self, tenant: Tenant, id_: TenantId, pipelines: list[Pipeline], *, untold: bool = False
    ) -> None:
        """Keeps or drops a tenant's schema, then lets it go.

        Tables of pipelines with Retain are kept whatever the tenant's own policy says.
        `untold`: its deletion is forced, and the registry still names it.
        Raises OperatorError where something is still to be done.
        """
        repairs.note("removal")
        left = Leftovers(tenant.meta.forced)
        left.note_if(untold, f"its document in the registry, so its keys are taken, {_UNTOLD}")
        schema = names.schema(tenant.meta.namespace, tenant.meta.name, tenant.meta.uid)
        if tenant.spec is None or tenant.spec.deletion_policy is DeletionPolicy.RETAIN:
            by_hand = f"schema {schema} in use, run SELECT argus.retain_tenant('{id_}')"
            await left.unless(self._database.retain_tenant(id_), by_hand, None)
            reason, note = "Retained", f"deletionPolicy is Retain: kept schema {schema}"
        else:
            kept = [pipeline for pipeline in pipelines if pipeline.retains]
            drop_counters = self._counters.drop_tenant(id_)
            await left.unless(drop_counters, f"Redis keys {{{id_}}}:*", None)
            drop = self._drop_schema(id_, kept)
            await left.unless(drop, f"schema {schema}, {_by_hand(id_, kept)}", None)
            held = ", ".join(pipeline.meta.name for pipeline in kept)
            but = f", but for what pipelines with Retain hold: {held}" if kept else ""
            reason, note = "Deleted", f"deletionPolicy is Delete: dropped schema {schema}{but}"
        await self._let_go(tenant, reason, f"{note}; its keys are refused", left)

    async def _drop_schema(self, id_: TenantId, kept: Sequence[Pipeline]) -> None:
        for pipeline in kept:
            await self._database.retain_pipeline(pipeline.meta.uid)
        await self._database.drop_tenant(id_)

    async def _let_go(
        self, subject: Tenant | Pipeline, reason: str, note: str, left: Leftovers
    ) -> None:
        """Says what became of what it owned; what was passed over is all that is sure then."""
        if left.found:
            text = f"{FORCE}: left {'; '.join(left.found)}"
            await self._cluster.post_event(subject.raw, WARNING, "ForceDeleted", text)
        else:
            await self._cluster.post_event(subject.raw, NORMAL, reason, note)
        await self._cluster.set_finalizer(subject.plural, subject.meta, present=False)


def _theirs(pipeline: Pipeline) -> str:
    return f"topics {' and '.join(pipeline.logs.both)} are left to whoever made them"


def _partitions(pipeline: Pipeline, found: TopicState | None, left: Leftovers) -> int:
    """Of how many partitions there are counters; Kafka's word, unless it was passed over."""
    if found is not None:
        return found.partitions
    stated: int = pipeline.status.get("partitions", 0) if left.found else 0
    return stated


def _by_hand(id_: TenantId, kept: Sequence[Pipeline]) -> str:
    """What PostgreSQL has to be told, in this order."""
    calls = [f"SELECT argus.retain_pipeline('{pipeline.meta.uid}')" for pipeline in kept]
    return "run " + ", ".join([*calls, f"SELECT argus.drop_tenant('{id_}')"])
