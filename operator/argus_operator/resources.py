"""The resources as the operator reads them: metadata always, the spec where it is understood."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from argus_contract import event_schemas
from argus_contract.names import TopicName
from pydantic import ValidationError

from argus_operator import topics
from argus_operator.models import pipeline, replay, tenant
from argus_operator.models.common import Condition, ConditionStatus, DeletionPolicy, Meta, Raw
from argus_operator.models.pipeline import PipelineSpec, Validation
from argus_operator.models.replay import ReplaySpec
from argus_operator.models.tenant import TenantSpec

_MOST_SHOWN: Final = 5
"""How many schemas a condition names."""


@dataclass(frozen=True, slots=True)
class Family:
    """A tenant's name and namespace: the tenant and its pipelines are reconciled as one."""

    namespace: str
    tenant: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.tenant}"


@dataclass(frozen=True, slots=True)
class Resource:
    """What all kinds have in common."""

    raw: Raw
    meta: Meta
    conditions: tuple[Condition, ...]
    problem: str | None
    """Why the spec cannot be understood: the CRD is of another release than the operator."""
    plural: ClassVar[str]

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as the API server has it."""
        found: Mapping[str, Any] = self.raw.get("status") or {}
        return found

    @property
    def log_fields(self) -> Mapping[str, str]:
        """What log lines about it say besides whose run they are of."""
        return {}

    def awake(self) -> Self:
        """The same, as if nobody had paused it, nor asked anything else of it."""
        return self.with_meta(self.meta.model_copy(update={"annotations": {}}))

    def with_meta(self, meta: Meta) -> Self:
        """The same, with its metadata as they are after a write of ours."""
        return dataclasses.replace(self, meta=meta)


@dataclass(frozen=True, slots=True)
class Tenant(Resource):
    """An ArgusTenant; `spec` is None where there is a problem."""

    spec: TenantSpec | None
    plural = tenant.PLURAL

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Reads an object; a spec that is not understood is a problem, never an exception."""
        try:
            spec, problem = TenantSpec.model_validate(raw.get("spec") or {}), None
        except ValidationError as error:
            spec, problem = None, _explain(error)
        return cls(raw, Meta.model_validate(raw["metadata"]), _conditions(raw), problem, spec)


@dataclass(frozen=True, slots=True)
class Pipeline(Resource):
    """An ArgusPipeline; `spec` is None where there is a problem."""

    spec: PipelineSpec | None
    plural = pipeline.PLURAL

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Reads an object; a spec that is not understood is a problem, never an exception.

        So is one with a JSON Schema that cannot be applied, unless it is going: then the rest of
        the spec counts.
        """
        meta = Meta.model_validate(raw["metadata"])
        spec: PipelineSpec | None
        try:
            spec = PipelineSpec.model_validate(raw.get("spec") or {})
            problem = None if meta.deleting else _problem_of_schemas(spec.validation)
        except ValidationError as error:
            spec, problem = None, _explain(error)
        return cls(raw, meta, _conditions(raw), problem, spec if problem is None else None)

    @property
    def log_fields(self) -> Mapping[str, str]:
        return {"pipeline": self.meta.name}

    @property
    def retains(self) -> bool:
        """Whether its data outlives it; so it does where the spec cannot tell."""
        return self.spec is None or self.spec.deletion_policy is DeletionPolicy.RETAIN

    @property
    def logs(self) -> topics.Names:
        """Its topics; where the spec cannot tell, those that it was last known with."""
        if self.spec is not None:
            return topics.named(self.meta, self.spec)
        events, letters = self.status.get("topic"), self.status.get("deadLetterTopic")
        if not events or not letters:
            return topics.made(self.meta)
        return topics.Names(TopicName(events), TopicName(letters))

    @property
    def external(self) -> bool:
        """Whether its topics are somebody else's."""
        return self.spec is not None and self.spec.topic.external is not None


@dataclass(frozen=True, slots=True)
class ReplayKey:
    """A replay's name and namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Replay(Resource):
    """An ArgusReplay; `spec` is None where there is a problem."""

    spec: ReplaySpec | None
    plural = replay.PLURAL

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Reads an object; a spec that is not understood is a problem, never an exception."""
        try:
            spec, problem = ReplaySpec.model_validate(raw.get("spec") or {}), None
        except ValidationError as error:
            spec, problem = None, _explain(error)
        return cls(raw, Meta.model_validate(raw["metadata"]), _conditions(raw), problem, spec)

    @property
    def log_fields(self) -> Mapping[str, str]:
        found = self.raw.get("spec") or {}
        return {"pipeline": (found.get("pipelineRef") or {}).get("name", "")}

    def has(self, type_: str) -> bool:
        """Whether a condition holds."""
        return any(c.type == type_ and c.status is ConditionStatus.TRUE for c in self.conditions)


def key_of_replay(raw: Raw) -> ReplayKey:
    """The key of an ArgusReplay."""
    return ReplayKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def family_of_tenant(raw: Raw) -> Family:
    """The family of an ArgusTenant."""
    return Family(raw["metadata"]["namespace"], raw["metadata"]["name"])


def family_of_pipeline(raw: Raw) -> Family:
    """The family of an ArgusPipeline."""
    return Family(raw["metadata"]["namespace"], raw["spec"]["tenantRef"]["name"])


def _conditions(raw: Raw) -> tuple[Condition, ...]:
    """Conditions that are ours; what somebody wrote by hand into the status is overwritten."""
    try:
        found = (raw.get("status") or {}).get("conditions") or ()
        return tuple(Condition.model_validate(item) for item in found)
    except ValidationError:
        return ()


def _explain(error: ValidationError) -> str:
    problems = (
        f"spec.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )
    return "; ".join(problems)


def _problem_of_schemas(validation: Validation) -> str | None:
    """Which of an event's JSON Schemas cannot be applied, where and why; None where all can."""
    schemas = [item.json_schema for item in validation.schemas]
    faults = {index: event_schemas.fault(schema) for index, schema in enumerate(schemas)}
    problems = [
        f"spec.validation.schemas[{index}].jsonSchema{fault}"
        for index, fault in faults.items()
        if fault is not None
    ]
    if problems:
        more = len(problems) - _MOST_SHOWN
        return "; ".join([*problems[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])])
    size = sum(len(event_schemas.canonical(schema)) for schema in schemas)
    if size <= event_schemas.MAX_SCHEMAS:
        return None
    most = event_schemas.MAX_SCHEMAS
    return f"spec.validation.schemas: {size:,} bytes of JSON together, the most are {most:,}"
