"""The queue: no change missed, no family twice at once, none held up by another."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from argus_operator.controller import Controller
from argus_operator.errors import RefusedError, UnavailableError
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family
from argus_operator.settings import ReconcileSettings

from tests.unit.operator.waiting import until

Reconcile = Callable[[Family], Awaitable[Verdict]]
A, B = Family("n", "a"), Family("n", "b")
SETTINGS = ReconcileSettings(workers=2, timeout=1, backoff=0.01, backoff_max=0.04)


@asynccontextmanager
async def running(
    reconcile: Reconcile, settings: ReconcileSettings = SETTINGS
) -> AsyncIterator[Controller[Family]]:
    controller = Controller("tenant", reconcile, settings)
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_many_wakes_before_a_look_are_one_look() -> None:
    seen: list[Family] = []

    async def reconcile(family: Family) -> Verdict:
        seen.append(family)
        return Verdict()

    async with running(reconcile) as controller:
        for _ in range(5):
            controller.wake(A)
        await until(lambda: bool(seen))
        await asyncio.sleep(0.02)

    assert seen == [A]


async def test_a_wake_during_a_look_is_one_more_look_and_never_two_at_once() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    at_once, looks, most = 0, 0, 0

    async def reconcile(family: Family) -> Verdict:
        nonlocal at_once, looks, most
        at_once += 1
        looks += 1
        most = max(most, at_once)
        started.set()
        await release.wait()
        at_once -= 1
        return Verdict()

    async with running(reconcile) as controller:
        controller.wake(A)
        await started.wait()
        controller.wake(A)
        controller.wake(A)
        release.set()
        await until(lambda: looks == 2)
        await asyncio.sleep(0.02)

    assert (looks, most) == (2, 1)


@pytest.mark.parametrize(
    "error", [UnavailableError("R", "m"), RefusedError("R", "m"), ValueError("a fault")]
)
async def test_a_failure_comes_back_and_holds_up_no_other(error: Exception) -> None:
    looks: Counter[Family] = Counter()

    async def reconcile(family: Family) -> Verdict:
        looks[family] += 1
        if family == A and looks[A] < 4:
            raise error
        return Verdict()

    async with running(reconcile) as controller:
        controller.wake(A)
        controller.wake(B)
        await until(lambda: looks[A] == 4)

    assert looks[B] == 1


async def test_a_verdict_asks_for_another_look() -> None:
    verdicts = [Verdict(retry=True), Verdict(again_in=0.01), Verdict()]
    looks = 0

    async def reconcile(family: Family) -> Verdict:
        nonlocal looks
        looks += 1
        return verdicts[looks - 1]

    async with running(reconcile) as controller:
        controller.wake(A)
        await until(lambda: looks == 3)
        await asyncio.sleep(0.05)

    assert looks == 3


async def test_a_wake_does_not_wait_for_the_back_off() -> None:
    looks = 0

    async def reconcile(family: Family) -> Verdict:
        nonlocal looks
        looks += 1
        return Verdict(retry=True)

    patient = ReconcileSettings(backoff=60, backoff_max=60)
    async with running(reconcile, patient) as controller:
        controller.wake(A)
        await until(lambda: looks == 1)
        await asyncio.sleep(0.01)
        controller.wake(A)
        await until(lambda: looks == 2)


async def test_a_look_that_hangs_is_cut_off() -> None:
    looks: Counter[Family] = Counter()

    async def reconcile(family: Family) -> Verdict:
        looks[family] += 1
        if looks[family] == 1:
            await asyncio.Event().wait()
        return Verdict()

    hasty = ReconcileSettings(workers=1, timeout=0.02, backoff=0.01)
    async with running(reconcile, hasty) as controller:
        controller.wake(A)
        await until(lambda: looks[A] == 2)


async def test_more_families_than_workers_are_all_seen() -> None:
    families = [Family("n", str(number)) for number in range(50)]
    seen: set[Family] = set()

    async def reconcile(family: Family) -> Verdict:
        await asyncio.sleep(0)
        seen.add(family)
        return Verdict()

    async with running(reconcile) as controller:
        for family in families:
            controller.wake(family)
        await until(lambda: seen == set(families))
