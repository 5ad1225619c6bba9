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
