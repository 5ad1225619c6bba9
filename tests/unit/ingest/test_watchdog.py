"""The loop's watchdog."""

import asyncio
import logging
import time

import pytest
from argus_ingest.watchdog import Watchdog


async def test_a_hang_is_logged_once_with_the_stack_that_caused_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchdog = Watchdog(stuck_after=0.3)
    task = asyncio.create_task(watchdog.run())
    await asyncio.sleep(0.15)
    with caplog.at_level(logging.ERROR):
        time.sleep(1.0)  # noqa: ASYNC251  # what is tested
        await asyncio.sleep(0.15)
    task.cancel()
    assert watchdog.hangs == 1
    assert "test_watchdog.py" in str(vars(caplog.records[0])["stack"])


async def test_a_loop_that_runs_is_left_alone() -> None:
    watchdog = Watchdog(stuck_after=5.0)
    task = asyncio.create_task(watchdog.run())
    await asyncio.sleep(0.5)
    task.cancel()
    assert watchdog.hangs == 0
