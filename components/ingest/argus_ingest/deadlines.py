"""One timeout for many waits: cheaper than a timer each, because nearly all of them end in time.

All waits have the same timeout, so they expire in the order in which they began, and one sweeper
looks at the oldest only.
"""

import asyncio
from collections import deque
from typing import Final

_SWEEP: Final = 0.1
"""Seconds between two looks: how late a wait may be found overdue."""


class Wait:
    """One task's wait; a context manager that raises TimeoutError if it was overdue."""

    __slots__ = ("deadline", "overdue", "task")

    def __init__(self, task: "asyncio.Task[object]", deadline: float) -> None:
        self.task: asyncio.Task[object] | None = task
        self.deadline = deadline
        self.overdue = False

    def __enter__(self) -> "Wait":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self.task = self.task, None
        # As asyncio.timeout does: our own cancellation becomes TimeoutError, anybody else's rises.
        ours = self.overdue and kind is asyncio.CancelledError
        if ours and task is not None and task.uncancel() == 0:
            raise TimeoutError from None


class Deadlines:
    """Cancels tasks that wait longer than the timeout."""

    def __init__(self, timeout: float) -> None:
        """`timeout` in seconds."""
        self.timeout = timeout
        self._waits: deque[Wait] = deque()
        self._loop = asyncio.get_running_loop()

    def wait(self) -> Wait:
        """Begins a wait of the current task, to be used with `with`."""
        waits = self._waits
        while waits and waits[0].task is None:
            waits.popleft()
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101  # only tasks await
        begun = Wait(task, self._loop.time() + self.timeout)
        waits.append(begun)
        return begun

    async def run(self) -> None:
        """Sweeps for ever; a supervised task."""
        while True:
            await asyncio.sleep(_SWEEP)
            self._sweep(self._loop.time())

    def _sweep(self, now: float) -> None:
        waits = self._waits
        while waits and (waits[0].task is None or waits[0].deadline <= now):
            begun = waits.popleft()
            if begun.task is not None:
                begun.overdue = True
                begun.task.cancel()
