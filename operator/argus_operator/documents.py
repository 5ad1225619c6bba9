"""Registry documents: what the data path is told of a tenant. Pure.

What was told once stays told while a dependency is away: a database that does not answer takes no
pipeline out of the registry. Only deletion does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from argus_contract import event_schemas, names
from argus_contract import registry as contract
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.registry import EventSchema, Key, Limits, Pipeline, TenantDocument, Validation

from argus_operator import topics
from argus_operator.errors import RefusedError
from argus_operator.models import pipeline as models
from argus_operator.models import units
from argus_operator.models.common import Meta, Mode
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.schemas import TenantSchema
from argus_operator.topics import TopicState

UNPUBLISHED: Final = 0
"""Revision of a document that the publisher has not numbered yet."""

MAX_DOCUMENT: Final = 900_000
"""Largest document in bytes; a broker's own limit is a MiB, with what Kafka adds."""

Documents = Mapping[TenantId, TenantDocument]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a pipeline does not get all the events that it claims."""

    reason: str
    message: str


def entry(tenant: TenantSchema, meta: Meta, spec: PipelineSpec, topic: TopicState) -> Pipeline:
    """A pipeline as the data path knows it; the topic's facts are those that Kafka has."""
    chunk = units.seconds(spec.storage.chunk_interval)
    logs = topics.named(meta, spec)
    return Pipeline(
        uid=meta.uid,
        name=meta.name,
        topic=logs.events,
        dead_letter_topic=logs.letters,
        partitions=topic.partitions,
        schema=tenant.schema,
        table=names.table(meta.name),
        window=units.seconds(spec.storage.retention) - chunk,
        dedupe_window=units.seconds(spec.dedupe_window),
        retention_bytes=topic.retention_bytes,
        retention_seconds=topic.retention_seconds,
        match=spec.match,
        validation=validation(spec.validation),
    )


def validation(spec: models.Validation) -> Validation | None:
    """A pipeline's schemas as the stream knows them; None where there are none."""
    if not spec.schemas:
        return None
    schemas = (
        EventSchema(item.event, event_schemas.canonical(item.json_schema).decode())
        for item in spec.schemas
    )
    return Validation(enforce=spec.mode is Mode.ENFORCE, schemas=tuple(schemas))


def document(
    tenant: TenantSchema,
    limits: Limits,
    keys: Sequence[Key],
    suspended: bool,
    pipelines: Sequence[Pipeline],
) -> TenantDocument:
    """A tenant as the data path knows it; `pipelines` from the oldest to the youngest."""
    return TenantDocument(
        id=tenant.tenant_id,
        namespace=tenant.namespace,
        name=tenant.name,
        revision=UNPUBLISHED,
        limits=limits,
        suspended=suspended,
        keys=tuple(keys),
        pipelines=tuple(pipelines),
    )


def with_pipelines(draft: TenantDocument, pipelines: Iterable[Pipeline]) -> TenantDocument:
    """The same tenant with these pipelines."""
    return msgspec.structs.replace(draft, pipelines=tuple(pipelines))


def same(left: TenantDocument | None, right: TenantDocument) -> bool:
    """Whether both say the same, whatever their revisions."""
    return left is not None and left == msgspec.structs.replace(right, revision=left.revision)


def check_size(document: TenantDocument) -> None:
    """Raises RefusedError for a document that is too large for one record of the registry."""
    size = len(contract.encode(document))
    if size > MAX_DOCUMENT:
        raise RefusedError(
            "DocumentTooLarge",
            f"what pods are told of the tenant is {size:,} bytes, and one record takes "
            f"{MAX_DOCUMENT:,}: shorten the JSON Schemas of its pipelines, or make some of them "
            "pipelines of another tenant",
        )


def conflicts(pipelines: Iterable[tuple[Meta, Sequence[str]]]) -> dict[str, Conflict]:
    """Which pipelines, by uid, claim what an older one has; each with its `match`, oldest first."""
    found: dict[str, Conflict] = {}
    default: str | None = None
    claimed: dict[str, str] = {}
    for meta, match in pipelines:
        taken = [pattern for pattern in match if pattern in claimed]
        if not match and default is not None:
            found[meta.uid] = Conflict(
                "DefaultConflict",
                f"{default!r} is older and has no spec.match either, so it is the tenant's default "
                "pipeline: give this one a spec.match, or delete one of them",
            )
        elif taken:
            owners = ", ".join(f"{pattern!r} by {claimed[pattern]!r}" for pattern in taken)
            found[meta.uid] = Conflict(
                "MatchConflict",
                f"claimed by older pipelines, which get those events: {owners}; "
                "take them out of spec.match here or there",
            )
        if not match:
            default = default or meta.name
        for pattern in match:
            claimed.setdefault(pattern, meta.name)
    return found


def shared_key(documents: Documents, tenant: TenantId, hashes: Iterable[KeyHash]) -> str | None:
    """The name of a key of `tenant` that another tenant has registered; None if all are its own."""
    mine = set(hashes)
    for other in documents.values():
        if other.id == tenant:
            continue
        for key in other.keys:
            if key.hash in mine:
                return other.display
    return None
