"""Waiting for what another task does."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Returns as soon as `condition` holds; raises TimeoutError where it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.002)
