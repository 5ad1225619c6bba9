"""Ending tasks that do not want to end."""

import asyncio

from argus_stream.service import end


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
    await asyncio.wait_for(end(*tasks), 5)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_tasks_that_have_ended_are_left_as_they_are() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await end(task)
    assert not task.cancelled()
