"""A process's life: start, run until a signal or a death, end with an honest exit code.

A component's `main(stop)` holds everything in task groups, returns soon after `stop` is set, and
lets whatever it cannot handle rise: the death of any task is the death of the process, logged,
and the kubelet starts it afresh.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

logger = logging.getLogger(__name__)

_CANCEL_AGAIN: Final = 0.5
"""Seconds that a task has to end before it is cancelled once more."""

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(main: Main) -> int:
    """Runs `main` on uvloop until it returns; SIGTERM and SIGINT set its `stop` event.

    Gives the exit code: 0 after a clean end, 1 after an exception, which is logged.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_with_signals(main))
        except Exception:
            logger.exception("the process ends: a task died")
            return 1
    return 0


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until it returns or `stop` is set, then cancels it and waits for its end.

    An exception of `work` rises, also where it comes while `work` is being cancelled.
    """
    stopping = asyncio.ensure_future(stop.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await end(working)
    if not working.cancelled():
        working.result()


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks until they have ended.

    Once is not enough: Python 3.11's asyncio.wait_for, which clients await, swallows a cancellation
    that comes together with its result (https://github.com/python/cpython/issues/86296).
    """
    while pending := {task for task in tasks if not task.done()}:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_AGAIN)


async def _with_signals(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)
