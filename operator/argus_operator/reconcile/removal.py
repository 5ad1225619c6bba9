"""What deleting a resource does: keep the data with Retain, drop it with Delete.

By then the registry names the resource no more and pods have heard of it. Only after all is done
does the finalizer go; whatever fails, it stays and the whole is tried again.
"""

from argus_contract import names
from argus_contract.names import TenantId

from argus_operator.models import units
from argus_operator.models.common import DeletionPolicy
from argus_operator.ports import Cluster, CounterStore, Schemas, Topics
from argus_operator.reconcile import repairs
from argus_operator.reconcile.status import NORMAL
from argus_operator.resources import Pipeline, Tenant
from argus_operator.topics import DiskBudget


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

    async def pipeline(self, pipeline: Pipeline, tenant: TenantId | None) -> None:
        """Keeps or drops a pipeline's topics, tables and counters, then lets it go.

        Raises OperatorError where something is still to be done.
        """
        repairs.note("removal")
        if pipeline.retains:
            reason, note = "Retained", await self._retain(pipeline)
        else:
            reason, note = "Deleted", await self._drop(pipeline, tenant)
        await self._cluster.post_event(pipeline.raw, NORMAL, reason, note)
        await self._cluster.set_finalizer(pipeline.plural, pipeline.meta, present=False)

    async def _retain(self, pipeline: Pipeline) -> str:
        meta = pipeline.meta
        await self._database.retain_pipeline(meta.uid)
        kept = await self._database.observe_pipeline(meta.uid)
        rows = f"table {kept.schema}.{kept.events_table}" if kept.events_table else "no table"
        if pipeline.external:
            return f"deletionPolicy is Retain: kept {rows}; {_left(pipeline)}"
        topics = await self._kafka.observe(pipeline.logs.both)
        logs = f"topics {', '.join(sorted(topics))}" if topics else "no topic"
        return f"deletionPolicy is Retain: kept {rows} and {logs}"

    async def _drop(self, pipeline: Pipeline, tenant: TenantId | None) -> str:
        if pipeline.external:
            return await self._leave(pipeline, tenant)
        meta = pipeline.meta
        topic, _ = both = pipeline.logs.both
        observed = await self._kafka.observe(both)
        if tenant is not None and topic in observed:
            await self._counters.drop(tenant, meta.name, topic, observed[topic].partitions)
        await self._database.drop_pipeline(meta.uid)
        if observed:
            await self._kafka.delete(list(observed))
        self._budget.release(both)
        freed = units.in_words(sum(state.retention_bytes for state in observed.values()))
        return f"deletionPolicy is Delete: dropped its tables, counters and topics (up to {freed})"

    async def _leave(self, pipeline: Pipeline, tenant: TenantId | None) -> str:
        """Kafka is not asked: what may have become of another's topics holds up no deletion."""
        meta, logs = pipeline.meta, pipeline.logs
        if tenant is not None:
            partitions = pipeline.status.get("partitions", 0)
            await self._counters.drop(tenant, meta.name, logs.events, partitions)
        await self._database.drop_pipeline(meta.uid)
        return f"deletionPolicy is Delete: dropped its tables and counters; {_left(pipeline)}"

    async def tenant(self, tenant: Tenant, id_: TenantId, pipelines: list[Pipeline]) -> None:
        """Keeps or drops a tenant's schema, then lets it go.

        Tables of pipelines with Retain are kept whatever the tenant's own policy says.
        Raises OperatorError where something is still to be done.
        """
        repairs.note("removal")
        schema = names.schema(tenant.meta.namespace, tenant.meta.name, tenant.meta.uid)
        if tenant.spec is None or tenant.spec.deletion_policy is DeletionPolicy.RETAIN:
            await self._database.retain_tenant(id_)
            reason, note = "Retained", f"deletionPolicy is Retain: kept schema {schema}"
        else:
            kept = [pipeline for pipeline in pipelines if pipeline.retains]
            for pipeline in kept:
                await self._database.retain_pipeline(pipeline.meta.uid)
            await self._counters.drop_tenant(id_)
            await self._database.drop_tenant(id_)
            left = ", ".join(pipeline.meta.name for pipeline in kept)
            but = f", but for what pipelines with Retain hold: {left}" if kept else ""
            reason, note = "Deleted", f"deletionPolicy is Delete: dropped schema {schema}{but}"
        await self._cluster.post_event(tenant.raw, NORMAL, reason, f"{note}; its keys are refused")
        await self._cluster.set_finalizer(tenant.plural, tenant.meta, present=False)


def _left(pipeline: Pipeline) -> str:
    return f"topics {' and '.join(pipeline.logs.both)} are left to whoever made them"
