"""Conditions: what was found about a resource, as people and `kubectl wait` read it.

Pure. `lastTransitionTime` moves only when a status flips, so an unchanged world writes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from argus_operator.errors import OperatorError
from argus_operator.models.common import Condition, ConditionStatus

READY: Final = "Ready"
SYNCED: Final = "Synced"
KEYS_READY: Final = "KeysReady"
TOPICS_READY: Final = "TopicsReady"
SCHEMAS_READY: Final = "SchemasReady"
REGISTRY_READY: Final = "RegistryReady"
HEALTHY: Final = "Healthy"
"""Whether what was accepted is stored; no part of Ready, which says whether it is accepted."""

RUNNING: Final = "Running"
"""Whether a replay's Job runs, and why not; `Complete` and `Failed` say how it ended."""
COMPLETE: Final = "Complete"
FAILED: Final = "Failed"

TENANT_DEPENDENCIES: Final = (KEYS_READY, SCHEMAS_READY, REGISTRY_READY)
PIPELINE_DEPENDENCIES: Final = (TOPICS_READY, SCHEMAS_READY, REGISTRY_READY, HEALTHY)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at the world found; becomes a condition."""

    type: str
    status: ConditionStatus
    reason: str
    message: str

    @property
    def good(self) -> bool:
        """Whether nothing is in the way here."""
        return self.status is ConditionStatus.TRUE


def good(type_: str, reason: str, message: str) -> Finding:
    """All is as the spec says."""
    return Finding(type_, ConditionStatus.TRUE, reason, message)


def bad(type_: str, reason: str, message: str) -> Finding:
    """It is not, and the message says what to do."""
    return Finding(type_, ConditionStatus.FALSE, reason, message)


def failed(type_: str, error: OperatorError) -> Finding:
    """What an error means for this dependency."""
    return bad(type_, error.reason, error.message)


def pending(types: Iterable[str]) -> list[Finding]:
    """For the first sight of an object: nothing is known yet."""
    message = "the operator has seen it and is at work"
    return [Finding(type_, ConditionStatus.UNKNOWN, "Pending", message) for type_ in types]


def summarise(type_: str, findings: Sequence[Finding], reason: str, message: str) -> Finding:
    """True if every finding is; else what the first bad one says."""
    worst = next((finding for finding in findings if not finding.good), None)
    if worst is None:
        return good(type_, reason, message)
    return Finding(type_, worst.status, worst.reason, worst.message)


def merge(
    previous: Sequence[Condition], findings: Iterable[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions to write, in the order of the findings; those not found again go."""
    known = {condition.type: condition for condition in previous}
    return tuple(_merge(known.get(found.type), found, generation, now) for found in findings)


def _merge(old: Condition | None, found: Finding, generation: int, now: datetime) -> Condition:
    same = old is not None and old.status is found.status
    return Condition(
        type=found.type,
        status=found.status,
        observed_generation=generation,
        reason=found.reason,
        message=found.message,
        last_transition_time=old.last_transition_time if old is not None and same else now,
    )


def changed(previous: Sequence[Condition], current: Sequence[Condition]) -> list[Condition]:
    """Conditions that say something else than before: another status, or another reason."""
    known = {condition.type: (condition.status, condition.reason) for condition in previous}
    return [
        condition
        for condition in current
        if known.get(condition.type) != (condition.status, condition.reason)
    ]
