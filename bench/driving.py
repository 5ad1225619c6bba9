"""The load generator driven from outside, and what servers cost under it."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from bench import accounting, stats
from bench.accounting import MICROS
from bench.load import TICK, Offer, Outcome

WARM_S: Final = 2.5
"""Seconds before a window opens: the generator starts, connections, caches, first batches."""
MARGIN_S: Final = 2.0
"""Seconds of load after a window closes, so that it closes under load."""


class Generator:
    """A running load generator."""

    def __init__(self, process: asyncio.subprocess.Process, offer: Offer) -> None:
        self._process = process
        self._offer = offer

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def outcome(self) -> Outcome:
        """What came of the offer, when it has ended; raises RuntimeError where it failed."""
        output, _ = await self._process.communicate(msgspec.json.encode(self._offer))
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return msgspec.msgpack.decode(output, type=Outcome)


@asynccontextmanager
async def generating(offer: Offer) -> AsyncIterator[Generator]:
    """A load generator that makes this offer; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Generator(process, offer)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Cost:
    """What servers cost in a window of load: requests acknowledged, CPU in seconds by name."""

    seconds: float
    requests: float
    cpu: Mapping[str, float]

    def each(self, name: str, batch: int = 1) -> float:
        """CPU in µs of a server for each event, of requests of `batch` events."""
        return MICROS * self.cpu[name] / (self.requests * batch)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


async def cost(roots: Mapping[str, tuple[int, ...]], offer: Offer, seconds: float) -> Cost:
    """Drives servers for a while; raises RuntimeError where one answer was no acknowledgement."""
    whole = msgspec.structs.replace(offer, seconds=WARM_S + seconds + MARGIN_S)
    async with generating(whole) as generator:
        working = asyncio.create_task(generator.outcome())
        await asyncio.sleep(WARM_S)
        since, first = time.monotonic(), accounting.table()
        await asyncio.sleep(seconds)
        until, last = time.monotonic(), accounting.table()
        outcome = await working
    if len(outcome.statuses) != 1 or not outcome.requests:
        raise RuntimeError(f"answers by status: {outcome.statuses}")
    began = outcome.began
    return Cost(
        seconds=until - since,
        requests=stats.window(outcome.ticks, TICK, since - began, until - began),
        cpu={
            name: accounting.cpu(last, pids) - accounting.cpu(first, pids)
            for name, pids in roots.items()
        },
    )
