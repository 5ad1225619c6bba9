"""The matrix: what may come upon a tenant and its pipelines, by what is away meanwhile."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from argus_operator.models.pipeline import PLURAL as PIPELINES

from tests.integration.operator.crash import sights
from tests.integration.operator.crash.drifts import DRIFTS
from tests.integration.operator.crash.scenarios import (
    LIFE,
    RETAIN,
    Act,
    Scenario,
    collect,
    counted,
    delete_both,
    delete_pipeline,
    lose_secret,
    outlast,
    play,
)
from tests.integration.operator.crash.sights import Sight, kept, ready
from tests.integration.operator.crash.tripwire import Engine, Side
from tests.integration.operator.crash.updates import UPDATES
from tests.integration.operator.stage import Stage, State
from tests.unit.operator.world import WEB


class Column(StrEnum):
    """What there is beside what a user does."""

    WELL = "well"
    KAFKA = "kafka"
    REDIS = "redis"
    POSTGRES = "postgres"
    KILLED = "killed"


def younger(name: str, *match: str) -> Act:
    """A pipeline that is younger than all there are."""

    async def act(stage: Stage) -> None:
        await stage.tick()
        await stage.pipeline(name, match=list(match))

    return act


def removal(name: str) -> Act:
    """Somebody deletes this pipeline."""

    async def act(stage: Stage) -> None:
        await stage.delete(PIPELINES, name)

    return act


def claimed(older: str, other: str, reason: str) -> Sight:
    """The older one gets what both claim, the younger one says so."""
    told = ("False", reason)
    return sights.every(ready(PIPELINES, older), ready(PIPELINES, other, told, told))


CONFLICTS = (
    Scenario(
        "conflict-default",
        (RETAIN,),
        (younger("later"), delete_pipeline),
        (claimed(WEB, "later", "DefaultConflict"), ready(PIPELINES, "later")),
    ),
    Scenario(
        "conflict-match",
        (RETAIN, younger("first", "click", "api*")),
        (younger("later", "api*", "other"), removal("first")),
        (claimed("first", "later", "MatchConflict"), ready(PIPELINES, "later")),
    ),
)
REPAIRED: Final = kept(lambda found: found.retention_seconds, 168 * 3_600)
DRIFTED = (
    *(
        Scenario(f"drift-{drift.__name__.replace('_', '-')}", (RETAIN,), (drift,), (REPAIRED,))
        for drift in DRIFTS
    ),
    Scenario("drift-secret-gone", (RETAIN,), (lose_secret,), (sights.replaced,)),
)
BESIDE = Scenario(
    "recreate-beside-retained", (RETAIN, counted, delete_both, collect), (RETAIN,), (sights.anew,)
)
ROWS = (*LIFE, BESIDE, *UPDATES, *CONFLICTS, *DRIFTED)


_WELL, _KAFKA, _REDIS, _POSTGRES, _KILLED = Column
IN_EVERY_RUN: Final[Mapping[str, frozenset[Column]]] = {
    name: frozenset({_WELL, *columns})
    for name, columns in {
        "create": [_KAFKA, _REDIS, _POSTGRES],
        "delete": [_KAFKA, _REDIS, _POSTGRES],
        "retain": [_KAFKA, _POSTGRES],
        "delete-tenant-first": [_KILLED],
        "delete-pipeline-first": [_REDIS],
        "recreate": [_KAFKA, _KILLED],
        "rotate": [_KAFKA, _KILLED],
        "revoke": [_POSTGRES, _KILLED],
        "update-tenant.apiKeys.name": [_KAFKA],
        "update-tenant.rateLimit.quota.daily": [_REDIS],
        "update-tenant.suspended": [_KAFKA, _KILLED],
        "update-pipeline.match": [_KAFKA],
        "update-pipeline.topic.partitions": [_KAFKA, _KILLED],
        "update-pipeline.validation.schemas.jsonSchema": [],
        "update-pipeline.storage.retention": [_POSTGRES, _KILLED],
        "conflict-default": [_KILLED],
        "conflict-match": [_POSTGRES],
        "drift-topic-configured": [_KAFKA],
        "drift-table-gone": [_POSTGRES],
        "drift-document-gone": [_KAFKA, _KILLED],
        "drift-secret-gone": [_KILLED],
    }.items()
}
"""Cells that run on real engines even where not all do: those that share no code path. Redis is
asked only where something is dropped, PostgreSQL not for keys, and all fields of one engine in one
request; create, delete and retain are killed at every call by test_crash.py."""


async def run(stage: Stage, row: Scenario, column: Column, calls: int) -> State:
    """The state in the end of a cell; `calls` are those that the operator makes undisturbed."""
    match column:
        case Column.WELL:
            return await play(stage, row)
        case Column.KILLED:
            found = await play(stage, row, max(calls // 2, 1), Side.AFTER)
            assert stage.wire.tripped, f"call {calls // 2} was not reached"
            return found
        case _:
            return await outlast(stage, row, Engine(column.value))
