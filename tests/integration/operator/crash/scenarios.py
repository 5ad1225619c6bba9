"""What the operator is disturbed at, and how: one line for each scenario."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash import sights
from tests.integration.operator.crash.sights import Sight
from tests.integration.operator.crash.tripwire import Engine, Killed, Side
from tests.integration.operator.stage import RETRY_S, Stage, State
from tests.unit.operator.world import SHOP, WEB

ATTEMPTS = 3
"""That the operator makes in vain while an engine is away."""

Act = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a user does before, which nothing disturbs, and then; all is settled after each act."""

    name: str
    before: tuple[Act, ...]
    acts: tuple[Act, ...]
    seen: tuple[Sight, ...] = ()
    """What is to be seen after each act, however it was disturbed; none where only the end is
    compared."""

    def __str__(self) -> str:
        return self.name

    def __post_init__(self) -> None:
        assert len(self.seen) in (0, len(self.acts)), self.name

    async def look(self, stage: Stage, number: int) -> None:
        """Raises AssertionError where it is not to be seen after this act; counted from 0."""
        for sight in self.seen[number : number + 1]:
            await sight(stage)


def both(**spec: Any) -> Act:
    """The tenant `shop` with its default pipeline `web`, both with this in their specs."""

    async def act(stage: Stage) -> None:
        await stage.tenant(**spec)
        await stage.pipeline(**spec)

    return act


async def counted(stage: Stage) -> None:
    """Something is counted live, so that there is something to drop in Redis."""
    await stage.count(WEB)


async def suspend(stage: Stage) -> None:
    """All that a tenant's spec has, changed at once."""
    keys = [{"name": "default"}, {"name": "site", "kind": "public"}]
    await stage.tenant(displayName="The shop", suspended=True, apiKeys=keys)


async def grow(stage: Stage) -> None:
    """All that a pipeline's spec has, changed at once."""
    await stage.pipeline(
        topic={"partitions": 3, "retention": {"hours": 5, "bytes": "96Mi"}},
        deadLetter={"retention": {"hours": 9, "bytes": "32Mi"}},
        storage={"chunkInterval": "2h", "retention": "10d"},
        dedupeWindow="2h",
    )


async def lose_secret(stage: Stage) -> None:
    """Somebody deletes the Secret."""
    await stage.write_secret(None)


async def rotate(stage: Stage) -> None:
    """Another key, the one before valid for a day."""
    await stage.annotate(TENANTS, SHOP, rotate="default")


async def revoke(stage: Stage) -> None:
    """A key has leaked."""
    await stage.annotate(TENANTS, SHOP, revoke="default")


async def next_day(stage: Stage) -> None:
    """The grace is over."""
    await stage.pass_time(86_401)


async def delete_tenant(stage: Stage) -> None:
    await stage.delete(TENANTS, SHOP)


async def delete_pipeline(stage: Stage) -> None:
    await stage.delete(PIPELINES, WEB)


async def delete_both(stage: Stage) -> None:
    """At once: the operator finds both on their way out."""
    await delete_tenant(stage)
    await delete_pipeline(stage)


async def collect(stage: Stage) -> None:
    await stage.collect()


RETAIN, DELETE = both(deletionPolicy="Retain"), both(deletionPolicy="Delete")
TENANT_FIRST, PIPELINE_FIRST = (delete_tenant, delete_pipeline), (delete_pipeline, delete_tenant)
CREATE = Scenario("create", (), (RETAIN,), (sights.serving,))
DROP = Scenario("delete", (DELETE, counted), (delete_both,), (sights.dropped,))
KEEP = Scenario("retain", (RETAIN, counted), (delete_both,), (sights.retained,))
LIFE = (
    CREATE,
    DROP,
    KEEP,
    Scenario("rotate", (RETAIN,), (rotate, next_day), (sights.in_grace, sights.replaced)),
    Scenario("revoke", (RETAIN,), (revoke,), (sights.replaced,)),
    Scenario("revoke-in-grace", (RETAIN, rotate), (revoke,), (sights.replaced,)),
    Scenario(
        "delete-tenant-first",
        (DELETE, counted),
        TENANT_FIRST,
        (sights.orphaned, sights.left_to_expire),
    ),
    Scenario(
        "delete-pipeline-first",
        (DELETE, counted),
        PIPELINE_FIRST,
        (sights.unserved, sights.dropped),
    ),
    Scenario(
        "retain-tenant-first",
        (RETAIN, counted),
        TENANT_FIRST,
        (sights.orphaned, sights.retained),
    ),
    Scenario(
        "retain-pipeline-first",
        (RETAIN, counted),
        PIPELINE_FIRST,
        (sights.unserved, sights.retained),
    ),
    Scenario("recreate", (DELETE, counted, delete_both, collect), (DELETE,), (sights.anew,)),
)
"""All that may come upon a tenant and its pipeline, but for a change of what they are to be."""
SCENARIOS = (
    *LIFE,
    Scenario("update-tenant", (RETAIN,), (suspend,)),
    Scenario("update-pipeline", (RETAIN,), (grow,)),
    Scenario("secret-lost", (RETAIN,), (lose_secret,)),
)


async def play(
    stage: Stage, scenario: Scenario, at: int | None = None, side: Side = Side.BEFORE
) -> State:
    """The state in the end, the operator disturbed at its call number `at` of the acts."""
    await prepare(stage, scenario)
    stage.wire.arm(at, side)
    for number, act in enumerate(scenario.acts):
        await act(stage)
        await survive(stage)
        await scenario.look(stage, number)
    stage.wire.rest()
    return await stage.end_state()


async def outlast(stage: Stage, scenario: Scenario, engine: Engine) -> State:
    """The state in the end, the engine away from before each act until the operator has tried."""
    await prepare(stage, scenario)
    for number, act in enumerate(scenario.acts):
        stage.wire.take_away(engine)
        await act(stage)
        for _ in range(ATTEMPTS):
            await stage.look()
            await stage.pass_time(RETRY_S)
        stage.wire.take_away(None)
        await stage.settle()
        await scenario.look(stage, number)
    return await stage.end_state()


async def prepare(stage: Stage, scenario: Scenario) -> None:
    """What the scenario begins with."""
    for act in scenario.before:
        await act(stage)
        await stage.settle()
        stage.keys_before = await stage.secret() or stage.keys_before


async def survive(stage: Stage) -> None:
    """Settles; where the process is killed, another one does, and where a call failed, again.

    What is only looked at, and does not hold up anything, is looked at again by the next round.
    """
    try:
        await stage.settle()
    except* Killed:
        await stage.restart()
        await stage.settle()
    if stage.wire.tripped:
        await stage.settle()


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """What differs, each with where it stands."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys(), key=str):
            yield from differences(expected.get(key), found.get(key), f"{path}/{key}")
    elif expected != found:
        yield f"{path}: {found!r}, not {expected!r}"
