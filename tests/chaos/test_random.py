"""A random sequence of faults under load, from a seed that is printed and can be given again.

Nothing that was acknowledged is lost or there twice, whatever breaks; every fault proves that it
bit; what must not be noticed by clients is not; and nothing restarts that was not made to.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from argus_cli.settings import Settings

from tests.chaos import faults, pods, tenants
from tests.chaos.conftest import Run
from tests.chaos.faults import KINDS, Fault, World
from tests.chaos.load import Flow, Load, acknowledged_share, percentile
from tests.chaos.tenants import Tenant
from tests.chaos.verify import verify

TENANTS = 3
RATE = 190.0
"""Events a second of each tenant."""
OFFERED = 500
"""Events a second of all of them that a run must have offered."""
CALM_S = 3.0
"""Seconds without a fault after each one: its window is over."""
SERVES_S = 60.0
DRAINED_S = 300.0
WELL_S = 90.0
"""The operator looks at what only time changes each 30 s."""
ACKNOWLEDGED = 0.95


@dataclass(slots=True)
class Timeline:
    """When faults were, by the loop's clock."""

    began: float
    ended: float = float("inf")
    windows: list[tuple[float, float]] = field(default_factory=list)


@pytest.mark.timeout(3600)
async def test_nothing_is_lost_or_doubled_whatever_breaks(
    settings: Settings, run: Run, subtests: pytest.Subtests
) -> None:
    sequence = faults.draw(run.seed, run.faults)
    print(f"\nSEED={run.seed} FAULTS={run.faults}: " + "; ".join(one.name for one in sequence))
    async with _tenants(settings) as made:
        world = World(settings, Load([Flow(tenant, RATE) for tenant in made], run.seed))
        async with _flowing(world.load):
            timeline = Timeline(asyncio.get_running_loop().time())
            world.restarts.begin(await pods.all_ready())
            for number, fault in enumerate(sequence, 1):
                await asyncio.sleep(CALM_S)
                with subtests.test(f"{number} {fault.name}"):
                    await _endure(world, fault, timeline, f"{number}/{run.faults}")
            await asyncio.sleep(CALM_S)
            timeline.ended = asyncio.get_running_loop().time()
        _offered(world.load, timeline, subtests)
        if run.faults >= len(KINDS):
            with subtests.test("every kind of fault was drawn"):
                assert {type(fault) for fault in sequence} == set(KINDS)
        await _promises(world, subtests)


@asynccontextmanager
async def _tenants(settings: Settings) -> AsyncIterator[list[Tenant]]:
    """Tenants of this run, which must go away at its end."""
    url = settings.require_url()
    made = [await tenants.make(url) for _ in range(TENANTS)]
    yield made
    await asyncio.to_thread(tenants.remove, [tenant.namespace for tenant in made])


@asynccontextmanager
async def _flowing(load: Load) -> AsyncIterator[None]:
    """Load for as long as the block lasts, and until all of it is acknowledged."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(load.run())
        try:
            await _serving(load)
            yield
            load.stop()
            async with asyncio.timeout(DRAINED_S):
                await asyncio.shield(running)
        finally:
            running.cancel()


async def _endure(world: World, fault: Fault, timeline: Timeline, number: str) -> None:
    """One fault from its making until everything is as before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    bite = "FAILED"
    try:
        await fault.prepare(world)
        try:
            await fault.inject(world)
            await asyncio.sleep(fault.hold)
        finally:
            await fault.lift(world)
        bite = await fault.proof(world)
    finally:
        found = await pods.all_ready()
        await _serving(world.load)
        ended = loop.time()
        timeline.windows.append((began, ended))
        good, total, broken = _taken(world.load, began)
        print(
            f"{number} {fault.name}: {bite}; whole again after {ended - began:.0f} s;"
            f" {good} of {total} events acknowledged at once, {broken} answers 5xx",
            flush=True,
        )
    odd = await world.restarts.judge(found)
    assert not odd, odd
    assert fault.refuses or not broken, f"clients noticed: {broken} answers 5xx"
    assert fault.refuses or good >= ACKNOWLEDGED * total, f"clients noticed: {good} of {total}"


def _taken(load: Load, since: float) -> tuple[int, int, int]:
    """Of the events first sent since then: acknowledged at once, and all; attempts answered 5xx."""
    good, total = acknowledged_share(load.flows, [(0, since)])
    attempts = (attempt for flow in load.flows for attempt in flow.attempts)
    return good, total, sum(one.status >= 500 for one in attempts if one.started >= since)


async def _serving(load: Load) -> None:
    """Waits until what is offered is acknowledged again."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SERVES_S
    while True:
        since = loop.time()
        await asyncio.sleep(1)
        good, total = acknowledged_share(load.flows, [(0, since)])
        if total and good >= ACKNOWLEDGED * total:
            return
        assert loop.time() < deadline, f"only {good} of {total} events are acknowledged"


def _offered(load: Load, timeline: Timeline, subtests: pytest.Subtests) -> None:
    """The load was as large as it claims, and was taken whenever nothing was broken."""
    seconds = timeline.ended - timeline.began
    ends = [(0, timeline.began), (timeline.ended, float("inf"))]
    _, total = acknowledged_share(load.flows, ends)
    good, calm = acknowledged_share(load.flows, [*ends, *timeline.windows])
    print(
        f"{total} events offered in {seconds:.0f} s, {total / seconds:.0f} a second;"
        f" {good} of {calm} acknowledged at the first attempt outside of faults"
    )
    for flow in load.flows:
        took = flow.latencies()
        print(
            f"{flow.tenant.namespace}: p50 {percentile(took, 0.5) * 1000:.0f} ms,"
            f" p99 {percentile(took, 0.99) * 1000:.0f} ms, not acknowledged {dict(flow.failures)}"
        )
    with subtests.test("at least 500 events a second were offered"):
        assert total >= OFFERED * seconds
    with subtests.test("at least 95 % were acknowledged outside of faults"):
        assert good >= ACKNOWLEDGED * calm > 0


async def _promises(world: World, subtests: pytest.Subtests) -> None:
    """Rows, letters, counters and books; pods."""
    report = await verify(world.load, world.settings)
    print("\n".join(report.figures))
    for what, problem in report.checks.items():
        with subtests.test(what):
            assert not problem, problem
    for flow in world.load.flows:
        with subtests.test(f"{flow.tenant.namespace}: all conditions are true"):
            await tenants.well(flow.tenant, WELL_S)
    with subtests.test("all pods are ready, and restarted only as often as they were made to"):
        odd = await world.restarts.judge(await pods.all_ready())
        assert not odd, odd
