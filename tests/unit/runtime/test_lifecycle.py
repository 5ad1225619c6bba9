"""A process ends cleanly on a signal and honestly on a death."""

import asyncio
import os
import signal

import pytest
from argus_runtime import lifecycle


def test_a_signal_ends_it_cleanly() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.wait()

    assert lifecycle.run(main) == 0


def test_an_exception_is_logged_and_ends_it_with_1(caplog: pytest.LogCaptureFixture) -> None:
    async def main(stop: asyncio.Event) -> None:
        raise ValueError("broken")

    assert lifecycle.run(main) == 1
    assert "a task died" in caplog.text
    assert "broken" in caplog.text


async def test_until_cancels_the_work_and_waits_for_its_end() -> None:
    stop, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            stop.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    await lifecycle.until(stop, work())
    assert cleaned.is_set()


async def test_until_raises_what_the_work_raises() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await lifecycle.until(asyncio.Event(), work())


async def test_until_passes_on_its_own_cancellation() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    outer = asyncio.ensure_future(lifecycle.until(asyncio.Event(), work()))
    await asyncio.sleep(0.01)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert ended.is_set()


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    """As Python 3.11's wait_for does, where its result comes together with the cancellation."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    async def obedient() -> None:
        await asyncio.sleep(60)

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(obedient())]
    await asyncio.sleep(0)
    await asyncio.wait_for(lifecycle.end(*tasks), 5)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_tasks_that_have_ended_are_left_as_they_are() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await lifecycle.end(task)
    assert not task.cancelled()


async def test_until_ends_work_that_swallows_a_cancellation() -> None:
    stop, swallowed = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        stop.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.sleep(60)

    await asyncio.wait_for(lifecycle.until(stop, stubborn()), 5)
    assert swallowed.is_set()
