"""Status and events: written only when they say something new."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from argus_runtime import logs

from argus_operator import conditions
from argus_operator.conditions import FAILED, HEALTHY, READY, SYNCED, Finding
from argus_operator.models.common import Condition, ConditionStatus
from argus_operator.ports import Cluster
from argus_operator.reconcile import repairs
from argus_operator.reconcile.health import Standing
from argus_operator.resources import Resource

NORMAL: Final = "Normal"
WARNING: Final = "Warning"

Clock = Callable[[], datetime]


class StatusWriter:
    """Writes what was found about a resource."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock

    async def write(
        self, subject: Resource, findings: Sequence[Finding], facts: Mapping[str, Any]
    ) -> None:
        """Writes conditions and those facts that changed; facts that are left out stay."""
        await self._put(subject, self._merge(subject, findings), facts)

    def _merge(self, subject: Resource, findings: Sequence[Finding]) -> tuple[Condition, ...]:
        now = self._clock().replace(microsecond=0)
        return conditions.merge(subject.conditions, findings, subject.meta.generation, now)

    async def _put(
        self, subject: Resource, merged: Sequence[Condition], facts: Mapping[str, Any]
    ) -> None:
        status = {**facts, "conditions": [_dump(condition) for condition in merged]}
        held = subject.status
        news = {k: _change(held.get(k), v) for k, v in status.items() if held.get(k) != v}
        if not news:
            return
        repairs.note("status")
        with logs.bound(**subject.log_fields):
            await self._cluster.patch_status(subject.plural, subject.meta, news)
            await self._announce(subject, merged)

    async def _announce(self, subject: Resource, merged: Sequence[Condition]) -> None:
        for condition in conditions.changed(subject.conditions, merged):
            if _worth_telling(condition, subject.conditions):
                type_ = NORMAL if _is_good_news(condition) else WARNING
                await self._cluster.post_event(
                    subject.raw, type_, condition.reason, condition.message
                )

    async def pending(self, subject: Resource, dependencies: Sequence[str]) -> None:
        """At first sight: all Unknown, so that people see that somebody is at work."""
        if not subject.conditions:
            found = conditions.pending((READY, SYNCED, *dependencies))
            await self.write(subject, found, {})

    async def hold(
        self,
        subject: Resource,
        reason: str,
        message: str,
        standing: Standing | None = None,
        *,
        unready: bool = False,
    ) -> None:
        """Says that the spec is not being applied.

        All else but a pipeline's standing stays as it was, and of the generation that it was found
        for. `unready` where nothing of it was published either, so that it takes no events.
        """
        found = [conditions.bad(SYNCED, reason, message)]
        if unready:
            found.insert(0, conditions.bad(READY, reason, message))
        if standing is not None:
            found.append(standing.finding)
        renewed = {condition.type: condition for condition in self._merge(subject, found)}
        merged = [renewed.pop(old.type, old) for old in subject.conditions]
        figures = {} if standing is None else standing.figures
        await self._put(subject, [*merged, *renewed.values()], figures)


def _change(held: Any, wanted: Any) -> Any:
    """What a merge patch has to say to make the one of the other: of a member that goes, null."""
    if not (isinstance(held, Mapping) and isinstance(wanted, Mapping)):
        return wanted
    return dict.fromkeys(held) | {k: _change(held.get(k), v) for k, v in wanted.items()}


def _worth_telling(condition: Condition, before: Sequence[Condition]) -> bool:
    """Readiness and health either way, and how a replay ended.

    Health is not news to a pipeline that never was ill.
    """
    match condition.type:
        case conditions.READY:
            return condition.status is not ConditionStatus.UNKNOWN
        case conditions.HEALTHY:
            ill = any(old.type == HEALTHY and old.status is ConditionStatus.FALSE for old in before)
            return condition.status is ConditionStatus.FALSE or (
                condition.status is ConditionStatus.TRUE and ill
            )
        case conditions.COMPLETE | conditions.FAILED:
            return condition.status is ConditionStatus.TRUE
        case _:
            return False


def _is_good_news(condition: Condition) -> bool:
    return condition.type != FAILED and condition.status is ConditionStatus.TRUE


def _dump(condition: Condition) -> dict[str, Any]:
    return condition.model_dump(mode="json", by_alias=True, exclude_none=True)
