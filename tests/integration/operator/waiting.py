"""Waiting for what another process does."""

import asyncio
from collections.abc import Awaitable, Callable

Condition = Callable[[], bool | Awaitable[bool]]


async def eventually(condition: Condition, seconds: float, every: float = 0.05) -> None:
    """Returns once `condition` holds; raises TimeoutError where it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(every)
