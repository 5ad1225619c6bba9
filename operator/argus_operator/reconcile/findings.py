"""What an attempt means for the conditions and facts of a tenant and of a pipeline. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argus_contract import names
from argus_contract.registry import Limits, TenantDocument

from argus_operator import conditions, usage
from argus_operator.conditions import (
    KEYS_READY,
    PIPELINE_DEPENDENCIES,
    READY,
    REGISTRY_READY,
    SCHEMAS_READY,
    SYNCED,
    TENANT_DEPENDENCIES,
    Finding,
)
from argus_operator.documents import Conflict
from argus_operator.errors import OperatorError
from argus_operator.models.common import ConditionStatus, Model
from argus_operator.models.tenant import TenantSpec
from argus_operator.reconcile.pipelines import Provisioned
from argus_operator.reconcile.tenants import Keyring
from argus_operator.resources import Pipeline, Tenant, family_of_pipeline
from argus_operator.schemas import TenantSchema
from argus_operator.usage import Use

Published = TenantDocument | OperatorError


@dataclass(frozen=True, slots=True)
class TenantOutcome:
    """What the steps for one tenant came to."""

    tenant: Tenant
    spec: TenantSpec
    schema: TenantSchema
    ring: Keyring | OperatorError
    limits: Limits | OperatorError
    on_schema: OperatorError | None
    published: Published
    use: Use


def dependencies(subject: Tenant | Pipeline) -> tuple[str, ...]:
    """The condition types that a kind has besides Ready and Synced."""
    return TENANT_DEPENDENCIES if isinstance(subject, Tenant) else PIPELINE_DEPENDENCIES


def no_tenant(pipeline: Pipeline) -> list[Finding]:
    """For a pipeline whose tenant is not there."""
    name = family_of_pipeline(pipeline.raw).tenant
    message = f"there is no ArgusTenant {name!r} in namespace {pipeline.meta.namespace!r}"
    unknown = ConditionStatus.UNKNOWN
    return [
        conditions.bad(READY, "TenantNotFound", f"{message}: create it"),
        conditions.bad(SYNCED, "TenantNotFound", message),
        *(Finding(type_, unknown, "TenantNotFound", message) for type_ in PIPELINE_DEPENDENCIES),
    ]


def tenant(outcome: TenantOutcome, candidates: Sequence[Provisioned]) -> list[Finding]:
    """A tenant's conditions; `candidates` are its pipelines."""
    found = [_keys(outcome), _schema(outcome), _tenant_registry(outcome)]
    synced = conditions.summarise(SYNCED, found, "Applied", "the spec is applied")
    ready = _accepting(found, "events are accepted")
    if ready.good:
        ready = _suspended(outcome) or _exceeded(outcome) or _default(outcome, candidates) or ready
    return [ready, synced, *found]


def _accepting(found: Sequence[Finding], message: str) -> Finding:
    """Whether events are accepted: what is published is, whether or not the database is there."""
    published = any(finding.type == REGISTRY_READY and finding.good for finding in found)
    needed = [finding for finding in found if not (published and finding.type == SCHEMAS_READY)]
    return conditions.summarise(READY, needed, "Accepting", message)


def _keys(outcome: TenantOutcome) -> Finding:
    if isinstance(outcome.ring, OperatorError):
        return conditions.failed(KEYS_READY, outcome.ring)
    secret = names.key_secret(outcome.tenant.meta.name)
    held = ", ".join(key.name for key in outcome.ring.keys if key.until is None)
    old = ", ".join(key.name for key in outcome.ring.keys if key.until is not None)
    grace = f"; in its grace beside it, the key before of: {old}" if old else ""
    return conditions.good(KEYS_READY, "KeysInSecret", f"Secret {secret} holds: {held}{grace}")


def _schema(outcome: TenantOutcome) -> Finding:
    if outcome.on_schema is not None:
        return conditions.failed(SCHEMAS_READY, outcome.on_schema)
    return conditions.good(SCHEMAS_READY, "SchemaExists", f"schema {outcome.schema.schema}")


def _tenant_registry(outcome: TenantOutcome) -> Finding:
    if isinstance(outcome.limits, OperatorError):
        return conditions.failed(REGISTRY_READY, outcome.limits)
    if isinstance(outcome.published, OperatorError):
        return conditions.failed(REGISTRY_READY, outcome.published)
    keys, pipelines = len(outcome.published.keys), len(outcome.published.pipelines)
    return conditions.good(REGISTRY_READY, "Published", f"keys: {keys}, pipelines: {pipelines}")


def _suspended(outcome: TenantOutcome) -> Finding | None:
    if not outcome.spec.suspended:
        return None
    message = "spec.suspended is true: every request is refused with 403"
    return conditions.bad(READY, "Suspended", message)


def _exceeded(outcome: TenantOutcome) -> Finding | None:
    if isinstance(outcome.published, OperatorError) or outcome.published.limits.observe:
        return None
    message = usage.exceeded(outcome.use.quota)
    return None if message is None else conditions.bad(READY, "QuotaExceeded", message)


def _default(outcome: TenantOutcome, candidates: Sequence[Provisioned]) -> Finding | None:
    if isinstance(outcome.published, OperatorError):
        return None
    if any(not item.match for item in outcome.published.pipelines):
        return None
    coming = next((made for made in candidates if not made.spec.match), None)
    if coming is not None:
        worst = coming.topics if not coming.topics.good else coming.schemas
        name = coming.pipeline.meta.name
        message = f"its default pipeline {name!r} takes no events yet: {worst.message}"
        return conditions.bad(READY, "PipelineNotReady", message)
    message = (
        "no ArgusPipeline without spec.match refers to this tenant: create one; until then an "
        "event that no pipeline takes is refused with 422 no_pipeline"
    )
    return conditions.bad(READY, "NoPipeline", message)


def tenant_facts(outcome: TenantOutcome) -> dict[str, Any]:
    """What is certain now of a tenant's status; the rest stays as it was."""
    facts: dict[str, Any] = {}
    if isinstance(outcome.published, TenantDocument):
        facts["id"] = outcome.schema.tenant_id
        facts["quota"] = None if outcome.use.quota is None else _dump(outcome.use.quota)
    if isinstance(outcome.ring, Keyring):
        facts["secretName"] = names.key_secret(outcome.tenant.meta.name)
        facts["keys"] = [_dump(shown) for shown in usage.dated(outcome.ring.shown, outcome.use)]
    if outcome.on_schema is None:
        facts["schema"] = outcome.schema.schema
        facts["role"] = names.read_only_role(outcome.schema.schema)
    return facts


def _dump(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def pipeline(made: Provisioned, clash: Conflict | None, published: Published) -> list[Finding]:
    """A pipeline's conditions; `clash` where an older one has what it claims."""
    found = [made.topics, made.schemas, _pipeline_registry(made, published)]
    synced = conditions.summarise(SYNCED, found, "Applied", "the spec is applied")
    ready = _accepting(found, f"takes {_takes(made.spec.match)}")
    if clash is not None and ready.good:
        ready = conditions.bad(READY, clash.reason, clash.message)
        synced = conditions.bad(SYNCED, clash.reason, clash.message)
    if made.standing.stopped and ready.good:
        health = made.standing.finding
        refused = (
            "events are refused with 503 while a log ends before what was read of it, and wait in "
            "Kafka otherwise"
        )
        ready = conditions.bad(READY, health.reason, f"{refused}: {health.message}")
    return [ready, synced, *found, made.standing.finding]


def _pipeline_registry(made: Provisioned, published: Published) -> Finding:
    if isinstance(published, OperatorError):
        return conditions.failed(REGISTRY_READY, published)
    if made.pipeline.meta.uid in {item.uid for item in published.pipelines}:
        return conditions.good(REGISTRY_READY, "Published", f"tenant {published.id}")
    message = "is published once its topics and tables are there"
    return conditions.bad(REGISTRY_READY, "NotYet", message)


def _takes(match: Sequence[str]) -> str:
    if not match:
        return "every event that no other pipeline takes"
    shown = ", ".join(match[:5]) + (", …" if len(match) > 5 else "")
    return f"events named {shown}"


def pipeline_facts(made: Provisioned) -> dict[str, Any]:
    """What is certain now of a pipeline's status; the rest stays as it was."""
    facts: dict[str, Any] = {}
    if made.topic is not None:
        facts["topic"], facts["deadLetterTopic"] = made.pipeline.logs.both
        facts["partitions"] = made.topic.partitions
    if made.tables is not None:
        facts["schema"] = made.tables.schema
        facts["table"] = made.tables.events_table
        facts["role"] = made.tables.role
    return facts | dict(made.standing.figures)
