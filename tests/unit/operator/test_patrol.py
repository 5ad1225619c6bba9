"""The look at every Secret in turn."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile.patrol import Patrol
from argus_operator.resources import Family

from tests.unit.operator.fakes import away
from tests.unit.operator.waiting import until
from tests.unit.operator.world import FAMILY, SECRET, World

INTERVAL_S = 0.02


@asynccontextmanager
async def patrolling(world: World) -> AsyncIterator[list[Family]]:
    """Whom the patrol woke so far; its first look at each is over."""
    woken: list[Family] = []
    patrol = Patrol(world.cluster, woken.append, INTERVAL_S)
    patrol.guard(await world.cluster.objects(TENANTS))
    task = asyncio.create_task(patrol.run())
    await until(lambda: woken == [FAMILY])
    try:
        yield woken
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_secret_that_stays_as_it_is_wakes_once(running: World) -> None:
    async with patrolling(running) as woken:
        await asyncio.sleep(5 * INTERVAL_S)

        assert woken == [FAMILY]


async def test_a_secret_that_changed_or_went_wakes(running: World) -> None:
    held = running.cluster.secrets[SECRET]
    async with patrolling(running) as woken:
        running.cluster.secrets[SECRET] = dataclasses.replace(held, resource_version="changed")
        await until(lambda: len(woken) == 2)
        del running.cluster.secrets[SECRET]
        await until(lambda: len(woken) == 3)
        await asyncio.sleep(5 * INTERVAL_S)

        assert len(woken) == 3


async def test_a_server_that_is_away_wakes_nobody_and_ends_nothing(running: World) -> None:
    async with patrolling(running) as woken:
        running.cluster.error = away("KubernetesUnavailable")
        await asyncio.sleep(3 * INTERVAL_S)
        assert woken == [FAMILY]

        running.cluster.error = None
        del running.cluster.secrets[SECRET]
        await until(lambda: len(woken) == 2)


async def test_looks_are_spread_over_the_interval(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        world.cluster.apply(TENANTS, f"shop-{number}", {})
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 8:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    woken: list[Family] = []
    patrol = Patrol(world.cluster, woken.append, 60.0)
    patrol.guard(await world.cluster.objects(TENANTS))
    with pytest.raises(asyncio.CancelledError):
        await patrol.run()

    assert slept == [15.0] * 8
    assert len(woken) == 4
