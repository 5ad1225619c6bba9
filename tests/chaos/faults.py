"""All kinds of faults, and the sequence of them that a seed gives."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import asyncpg

from tests.chaos.engine_faults import (
    CutKafka,
    CutPostgres,
    CutRedis,
    Flush,
    FreezeEngine,
    FullDiskKafka,
    FullDiskPostgres,
    Restart,
)
from tests.chaos.fault import BITES_S, LOOK_S, Fault, NoBiteError, World
from tests.chaos.load import Flow
from tests.chaos.process_faults import (
    FreezeStream,
    KillIngest,
    KillKafka,
    KillOperator,
    KillPostgres,
    KillRedis,
    KillStream,
    Roll,
    Scale,
)
from tests.e2e.books import database_url

__all__ = ["KINDS", "Fault", "NoBiteError", "World", "draw"]


class Skew(Fault):
    """The clients of one tenant are off by hours, or years: ids and timestamps of theirs too."""

    kind = "client clocks"

    def __init__(self, rng: random.Random) -> None:
        self._seconds = rng.choice(_SKEWS)
        self._which = rng.random()
        self.hold = rng.uniform(4, 8)
        self._since: datetime | None = None

    @property
    def name(self) -> str:
        return f"{self.kind} off by {self._seconds / 3600:+.1f} h"

    async def inject(self, world: World) -> None:
        async with _reading(world) as reader:
            self._since = await reader.fetchval("select clock_timestamp()")
        self._flow(world).shape.skew = self._seconds

    def _flow(self, world: World) -> Flow:
        flows = world.load.flows
        return flows[int(self._which * len(flows))]

    async def lift(self, world: World) -> None:
        self._flow(world).shape.skew = 0.0

    async def proof(self, world: World) -> str:
        tenant = self._flow(world).tenant
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BITES_S
        async with _reading(world) as reader:
            while loop.time() < deadline:
                rows = await reader.fetchval(
                    f"select count(*) from {tenant.rows} where received_at > $2"
                    " and abs(extract(epoch from time - received_at) - $1) < 60",
                    self._seconds,
                    self._since,
                )
                # the load always has letters that are too old, whatever the clock
                letters = await reader.fetchval(
                    "select count(*) from argus.dead_letters"
                    " where topic = $1 and code = 'too_new' and at > $2",
                    tenant.topic,
                    self._since,
                )
                if rows or letters:
                    return f"{rows} rows, {letters} letters with such a time"
                await asyncio.sleep(LOOK_S)
        raise NoBiteError("no event of such a time arrived")


@asynccontextmanager
async def _reading(world: World) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    reader = await asyncpg.connect(database_url(world.settings), timeout=10)
    try:
        yield reader
    finally:
        await reader.close()


_SKEWS: Final = (-30 * 3600.0, -3600.0, 3000.0, 3 * 3600.0, 9000 * 3600.0)
"""Seconds; with an hour more, an event is a dead letter."""

_COMBINED: Final[tuple[type[Fault], ...]] = (
    *(KillIngest, KillStream, KillOperator, KillKafka, KillRedis, KillPostgres),
    *(CutKafka, CutRedis, CutPostgres, FreezeEngine, Restart, Flush),
)


class Pair(Fault):
    """Two faults at once."""

    kind = "two at once"

    def __init__(self, rng: random.Random) -> None:
        while True:
            drawn = [kind(rng) for kind in rng.sample(_COMBINED, 2)]
            if drawn[0].touches.isdisjoint(drawn[1].touches):
                break
        # what needs something to be there comes before what takes it away
        first, second = sorted(drawn, key=lambda one: len(one.touches))
        self.faults = (first, second)
        self.hold = max(one.hold for one in drawn)
        self.refuses = any(one.refuses for one in drawn)

    @property
    def name(self) -> str:
        return " and ".join(one.name for one in self.faults)

    async def prepare(self, world: World) -> None:
        for one in self.faults:
            await one.prepare(world)

    async def inject(self, world: World) -> None:
        for one in self.faults:
            await one.inject(world)

    async def lift(self, world: World) -> None:
        first, second = self.faults
        try:
            await second.lift(world)
        finally:
            await first.lift(world)

    async def proof(self, world: World) -> str:
        return "; ".join([await one.proof(world) for one in self.faults])


KINDS: Final[tuple[type[Fault], ...]] = (
    *(KillIngest, KillStream, KillOperator, KillKafka, KillRedis, KillPostgres),
    *(FreezeStream, FreezeEngine, CutKafka, CutRedis, CutPostgres, Restart),
    *(FullDiskKafka, FullDiskPostgres, Roll, Scale, Flush, Skew, Pair),
)


def draw(seed: int, count: int) -> list[Fault]:
    """A sequence of faults: every kind once before any comes again, in random order. Pure."""
    rng = random.Random(seed)
    drawn: list[Fault] = []
    while len(drawn) < count:
        deck = list(KINDS)
        rng.shuffle(deck)
        drawn += [kind(rng) for kind in deck[: count - len(drawn)]]
    return drawn
