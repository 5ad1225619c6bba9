"""One timeout for many waits."""

import asyncio

import pytest
from argus_ingest.deadlines import Deadlines


async def test_a_wait_in_time_is_left_alone() -> None:
    deadlines = Deadlines(5.0)
    sweeper = asyncio.create_task(deadlines.run())
    with deadlines.wait():
        await asyncio.sleep(0.15)
    sweeper.cancel()


async def test_an_overdue_wait_is_a_timeout_and_the_task_lives_on() -> None:
    deadlines = Deadlines(0.05)
    sweeper = asyncio.create_task(deadlines.run())
    with pytest.raises(TimeoutError), deadlines.wait():
        await asyncio.sleep(10)
    await asyncio.sleep(0.15)
    sweeper.cancel()


async def test_anybody_elses_cancellation_rises() -> None:
    deadlines = Deadlines(0.05)
    sweeper = asyncio.create_task(deadlines.run())

    async def waits() -> None:
        with deadlines.wait():
            await asyncio.sleep(10)

    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    sweeper.cancel()


async def test_waits_that_ended_are_forgotten() -> None:
    deadlines = Deadlines(60.0)
    for _ in range(1_000):
        with deadlines.wait():
            pass
    assert len(deadlines._waits) == 1
