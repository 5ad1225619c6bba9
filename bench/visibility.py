"""How long it takes from accepting an event until its row is visible, and until it is counted live.

While a run goes on, the ledger's and the counters' positions are polled; both move in the same
transaction, or script, as what they speak for. Afterwards rows tell their offset and when they were
received, so each row of a sample has a moment at which the position was first seen beyond it. The
time of receipt is earlier than the answer, and a poll later than the fact: what is reported is
never too small.
"""

import asyncio
import bisect
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from argus_contract import redis_keys
from argus_contract.registry import Pipeline
from redis.asyncio import Redis

from bench.ledger import OF_RUN, of_run
from bench.load import Outcome
from bench.provision import Tenant

_POLL_S: Final = 0.01
_COUNTED_S: Final = 30.0
_SAMPLE: Final = 23
"""One row of so many is looked at: a prime, so that no period of the load is favoured."""
_OFFSETS: Final = """
SELECT topic, partition, next_offset FROM argus.offsets WHERE topic = ANY($1::text[])
"""
_ROWS: Final = """
SELECT source_partition, source_offset, (extract(epoch FROM received_at) * 1e6)::bigint
FROM {schema}.{table}
WHERE {of_run} AND source_offset % $4 = 0
"""

Source = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(slots=True)
class Track:
    """A position that only grows, and when each value was first seen, in microseconds."""

    positions: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def note(self, position: int, now: int) -> None:
        """Remembers the position if it is a new one."""
        if not self.positions or position > self.positions[-1]:
            self.positions.append(position)
            self.seen.append(now)

    @property
    def last(self) -> int:
        """The position last seen."""
        return self.positions[-1] if self.positions else 0

    def passed(self, offset: int) -> int | None:
        """When it was first seen beyond `offset`; None where it never was."""
        index = bisect.bisect_right(self.positions, offset)
        return self.seen[index] if index < len(self.seen) else None


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from receipt, ascending."""

    rows: Sequence[float]
    live: Sequence[float]


class Watch:
    """Polls while a run goes on; tells the delays afterwards."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", redis: Redis, tenants: Iterable[Tenant]
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._pipelines = [one for tenant in tenants for one in tenant.pipelines]
        self._sources = [
            (one.topic, partition) for one in self._pipelines for partition in range(one.partitions)
        ]
        self._fences = [
            redis_keys.fence(tenant.document.id, one.topic, partition)
            for tenant in tenants
            for one in tenant.pipelines
            for partition in range(one.partitions)
        ]
        self._rows: Mapping[Source, Track] = {source: Track() for source in self._sources}
        self._live: Mapping[Source, Track] = {source: Track() for source in self._sources}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Polls while the block runs, and a moment longer."""
        async with asyncio.TaskGroup() as group:
            polls = [group.create_task(self._poll_rows()), group.create_task(self._poll_live())]
            yield
            await self._look_at_rows()
            await self._counted()
            for poll in polls:
                poll.cancel()

    async def _counted(self) -> None:
        """Waits until the counters have what the ledger has."""
        deadline = time.monotonic() + _COUNTED_S
        while any(self._live[one].last < self._rows[one].last for one in self._sources):
            if time.monotonic() > deadline:
                raise TimeoutError(f"live counters are behind the rows after {_COUNTED_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def _poll_rows(self) -> None:
        while True:
            await self._look_at_rows()
            await asyncio.sleep(_POLL_S)

    async def _look_at_rows(self) -> None:
        rows = await self._pool.fetch(_OFFSETS, sorted({topic for topic, _ in self._sources}))
        now = time.time_ns() // 1000
        for row in rows:
            self._rows[row["topic"], row["partition"]].note(row["next_offset"], now)

    async def _poll_live(self) -> None:
        while True:
            fences: list[Any] = await self._redis.mget(self._fences)
            now = time.time_ns() // 1000
            for source, fence in zip(self._sources, fences, strict=True):
                if fence is not None:
                    self._live[source].note(int(fence), now)
            await asyncio.sleep(_POLL_S)

    async def delays(self, outcome: Outcome, run: int) -> Delays:
        """Those of a sample of the run's rows; raises RuntimeError where one was never seen."""
        rows: list[float] = []
        live: list[float] = []
        for pipeline in self._pipelines:
            for partition, offset, received in await self._sample(pipeline, outcome, run):
                source = pipeline.topic, partition
                stored, counted = (
                    self._rows[source].passed(offset),
                    self._live[source].passed(offset),
                )
                if stored is None or counted is None:
                    raise RuntimeError(f"offset {offset} of {source} was never seen to be passed")
                rows.append((stored - received) / 1e6)
                live.append((counted - received) / 1e6)
        return Delays(sorted(rows), sorted(live))

    async def _sample(self, pipeline: Pipeline, outcome: Outcome, run: int) -> list[asyncpg.Record]:
        statement = _ROWS.format(schema=pipeline.schema, table=pipeline.table, of_run=OF_RUN)
        return await self._pool.fetch(statement, *of_run(outcome, run), _SAMPLE, timeout=120)
