"""What PostgreSQL says of a run: how far it is stored, and which of its events are rows."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from argus_contract.registry import Pipeline

from bench.events import lowest_id
from bench.load import Outcome

POLL_S: Final = 0.005

OF_RUN: Final = "id BETWEEN $1::text::uuid AND $2::text::uuid AND substr(id::text, 21, 3) = $3"
"""What holds of a run's rows and of no others; its parameters are those of `of_run`."""

_FIRST_DRAIN_S: Final = 120.0
_SETTLED: Final = """
SELECT coalesce(sum(next_offset - first_offset), 0)::bigint AS offsets,
       coalesce(sum(stored), 0)::bigint AS stored,
       coalesce(sum(skipped + lost), 0)::bigint AS missing
FROM argus.offsets WHERE topic = ANY($1::text[])
"""
_NUMBERS: Final = """
SELECT ('x' || right(id::text, 12))::bit(48)::bigint AS number FROM {schema}.{table}
WHERE {of_run}
"""
"""The numbers that bench.events.Stem puts into ids, of one run."""


@dataclass(frozen=True, slots=True)
class Position:
    """The ledger's terms, summed over partitions."""

    offsets: int
    stored: int
    missing: int


@dataclass(frozen=True, slots=True)
class Account:
    """Events of one run: `lost` were acknowledged and are no rows, `twice` are rows again."""

    acknowledged: int
    rows: int
    lost: int
    twice: int


class Ledger:
    """Reads with the rights of the database's owner."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", pipelines: Sequence[Pipeline]) -> None:
        self._pool = pool
        self._pipelines = pipelines
        self._topics = [pipeline.topic for pipeline in pipelines]

    async def position(self) -> Position:
        """How far it is now."""
        row = await self._pool.fetchrow(_SETTLED, self._topics)
        assert row is not None, "an aggregate is always a row"  # noqa: S101
        return Position(row["offsets"], row["stored"], row["missing"])

    async def step(self, patience: float = 1.5) -> Position:
        """How far it is right after its next step, or after so many seconds without one."""
        deadline = time.monotonic() + patience
        before = await self.position()
        while True:
            await asyncio.sleep(POLL_S)
            now = await self.position()
            if now.offsets != before.offsets or time.monotonic() > deadline:
                return now

    async def drained(self, before: Position, events: int) -> Position:
        """The ledger once it accounts for so many more events.

        Raises TimeoutError with how far it came.
        """
        deadline = time.monotonic() + _FIRST_DRAIN_S
        while True:
            now = await self.position()
            if now.offsets - before.offsets >= events:
                return now
            if time.monotonic() > deadline:
                came = now.offsets - before.offsets
                raise TimeoutError(
                    f"the ledger has {came} of {events} events after {_FIRST_DRAIN_S:g} s"
                )
            await asyncio.sleep(0.05)

    async def account(self, outcome: Outcome, run: int, batch: int) -> Account:
        """Holds every acknowledged id against the rows."""
        seen = bytearray(outcome.sent)
        rows = twice = 0
        for pipeline in self._pipelines:
            for number in await self._numbers(pipeline, outcome, run):
                rows += 1
                twice += seen[number]
                seen[number] = 1
        lost = seen.count(0)
        for first in outcome.unacknowledged:
            lost -= seen[first : first + batch].count(0)
        return Account(outcome.requests * batch, rows, lost, twice)

    async def _numbers(self, pipeline: Pipeline, outcome: Outcome, run: int) -> list[Any]:
        statement = _NUMBERS.format(schema=pipeline.schema, table=pipeline.table, of_run=OF_RUN)
        rows = await self._pool.fetch(statement, *of_run(outcome, run), timeout=120)
        return [row[0] for row in rows]


def of_run(outcome: Outcome, run: int) -> tuple[str, str, str]:
    """The first three parameters of a statement with OF_RUN: ids that no row is below or above, and
    the run as ids hold it."""
    span = round((outcome.ended - outcome.began + 1) * 1_000_000)
    return lowest_id(outcome.began_at), lowest_id(outcome.began_at + span), f"{run:03x}"
