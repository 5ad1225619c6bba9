"""Schemas: what PostgreSQL must hold for a tenant and its pipelines. Pure.

The SQL itself lives in `db/`: functions of schema `argus` that are idempotent and repair drift, so
a plan is only whether to call them.
"""

from dataclasses import dataclass
from datetime import timedelta

from argus_contract import names
from argus_contract.names import TenantId, TopicName

from argus_operator import topics
from argus_operator.errors import RefusedError
from argus_operator.models import units
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec


@dataclass(frozen=True, slots=True)
class TenantSchema:
    """A tenant's schema as it shall be."""

    tenant_id: TenantId
    namespace: str
    name: str
    schema: str


@dataclass(frozen=True, slots=True)
class PipelineTables:
    """A pipeline's tables as they shall be."""

    tenant: TenantSchema
    uid: str
    pipeline: str
    topic: TopicName
    dead_letter_topic: TopicName
    partitions: int
    chunk_interval: timedelta
    retention: timedelta
    dedupe_window: timedelta
    dead_letter_retention: timedelta

    @property
    def table(self) -> str:
        """The hypertable, inside the schema."""
        return names.table(self.pipeline)


@dataclass(frozen=True, slots=True)
class PipelineObserved:
    """What exists of a pipeline; None where something does not."""

    schema: str | None = None
    events_table: str | None = None
    rollup_table: str | None = None
    ids_table: str | None = None
    role: str | None = None
    chunk_interval: timedelta | None = None
    retention: timedelta | None = None
    dedupe_window: timedelta | None = None
    partitions: int | None = None
    retained: bool = False


def tenant_schema(meta: Meta) -> TenantSchema:
    """The schema that a tenant is given."""
    return TenantSchema(
        tenant_id=names.tenant_id(meta.namespace, meta.name, meta.uid),
        namespace=meta.namespace,
        name=meta.name,
        schema=names.schema(meta.namespace, meta.name, meta.uid),
    )


def pipeline_tables(
    tenant: TenantSchema, meta: Meta, spec: PipelineSpec, partitions: int
) -> PipelineTables:
    """The tables that a pipeline is given; `partitions` are those that the topic has."""
    logs = topics.named(meta, spec)
    return PipelineTables(
        tenant=tenant,
        uid=meta.uid,
        pipeline=meta.name,
        topic=logs.events,
        dead_letter_topic=logs.letters,
        partitions=partitions,
        chunk_interval=timedelta(seconds=units.seconds(spec.storage.chunk_interval)),
        retention=timedelta(seconds=units.seconds(spec.storage.retention)),
        dedupe_window=timedelta(seconds=units.seconds(spec.dedupe_window)),
        dead_letter_retention=timedelta(hours=spec.dead_letter.retention.hours),
    )


def check_owner(wanted: PipelineTables, observed: PipelineObserved, told: str | None) -> None:
    """Raises RefusedError where the pipeline's data belongs to a tenant that is no more.

    `told` is the schema in the pipeline's status: where that tenant's deletion has dropped the
    tables, the topic still holds its events, which are not the new tenant's either.
    """
    former = observed.schema or told
    if observed.retained or former not in (None, wanted.tenant.schema):
        raise RefusedError(
            "TenantReplaced",
            f"this pipeline's data belongs to an earlier tenant {wanted.tenant.name!r} "
            f"(schema {former}): delete this pipeline and create it again",
        )


def in_step(wanted: PipelineTables, observed: PipelineObserved) -> bool:
    """Whether nothing has to be done."""
    tables = (observed.events_table, observed.rollup_table, observed.ids_table, observed.role)
    return (
        all(tables)
        and observed.schema == wanted.tenant.schema
        and observed.chunk_interval == wanted.chunk_interval
        and observed.retention == wanted.retention
        and observed.dedupe_window == wanted.dedupe_window
        and observed.partitions == wanted.partitions
    )
