"""What both resources share: names, metadata, conditions, deletion policies."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from argus_operator.models import units

GROUP: Final = "argus.dev"
VERSION: Final = "v1alpha1"
FINALIZER: Final = "argus.dev/cleanup"
PAUSED: Final = "argus.dev/paused"
"""Annotation that stops reconciliation of an object; `false` or absent is not paused."""
ROTATE: Final = "argus.dev/rotate"
"""Annotation that asks for new keys in place of these, by name or id, with a grace."""
REVOKE: Final = "argus.dev/revoke"
"""Annotation that takes these keys, by name or id, out at once."""
ADOPT: Final = "argus.dev/adopt"
"""Annotation that names what a predecessor's `Retain` kept, a schema or a topic, to go on with."""
FORCE: Final = "argus.dev/force-delete"
"""Annotation that lets a deletion pass over engines that are away; `true`, or it means nothing."""

LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Name = Annotated[str, Field(max_length=40, pattern=LABEL)]
Duration = Annotated[str, Field(max_length=6, pattern=units.DURATION)]


class Model(BaseModel):
    """A frozen part of a resource, written in camelCase, refusing what it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class DeletionPolicy(StrEnum):
    """What deleting a resource does with its data."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Mode(StrEnum):
    """Whether what breaks a rule is refused, or let pass and counted."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """metav1.Condition; `last_transition_time` changes only when `status` does."""

    type: Annotated[str, Field(max_length=316)]
    status: ConditionStatus
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    reason: Annotated[
        str,
        Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    ]
    message: Annotated[str, Field(max_length=32768)]
    last_transition_time: datetime


class ReasonCount(Model):
    """How many letters have one reason."""

    reason: str
    count: int


class ReasonCounts(Model):
    """How many letters, and why."""

    total: int
    reasons: tuple[ReasonCount, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        """The reasons in order of their names, and their sum."""
        reasons = [ReasonCount(reason=reason, count=n) for reason, n in sorted(counts.items())]
        return cls(total=sum(counts.values()), reasons=tuple(reasons))


class Meta(BaseModel):
    """The metadata that the operator reads; the API server owns the rest."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )

    name: str
    namespace: str
    uid: str
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None
    finalizers: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}

    @property
    def deleting(self) -> bool:
        """Whether somebody asked for its deletion."""
        return self.deletion_timestamp is not None

    @property
    def held(self) -> bool:
        """Whether it waits for our cleanup before it may go."""
        return FINALIZER in self.finalizers

    @property
    def paused(self) -> bool:
        """Whether it is to be left alone."""
        return self.annotations.get(PAUSED, "false").lower() != "false"

    @property
    def forced(self) -> bool:
        """Whether its deletion may pass over engines that are away."""
        return self.deleting and self.annotations.get(FORCE, "").lower() == "true"

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts older objects first, and ties the same way every time."""
        return self.creation_timestamp, self.uid


Raw = Mapping[str, Any]
"""An object as the API server gives it."""
