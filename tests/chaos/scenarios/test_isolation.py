"""One tenant misbehaves in three ways, and two others notice nothing: guarantee 6 of the design."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from argus_cli.settings import Settings

from tests.chaos.load import Flow, Load, percentile
from tests.chaos.scenarios.conftest import MakeTenant, Reader, Say
from tests.chaos.scenarios.flood import Flood
from tests.chaos.scenarios.outage import under
from tests.chaos.scenarios.span import span
from tests.chaos.tenants import UNLIMITED
from tests.chaos.traffic import Shape
from tests.chaos.verify import verify

PHASE_S = span(15.0, 60.0)
CALM_S = 5.0
LIMIT = 400
"""Events/s that the third tenant may send."""
RATE = 100.0
"""Events/s of each of the two others."""
SLOWER = 2.0
FLOOR_S = 0.15
"""A p99 below this is never a failure: on two cores, shared with everything that runs in the
cluster and with the load itself, single figures of milliseconds double by chance."""
ROW_AGE_S = 5.0
_POLL_S = 0.2

pytestmark = pytest.mark.timeout(900)


@dataclass(slots=True)
class Ages:
    """Seconds from the receipt of each row to when it was seen, at most `_POLL_S` too many."""

    table: str
    found: list[tuple[float, float]] = field(default_factory=list)
    """When it was seen, by the loop's clock, and the age."""
    _next: Counter[int] = field(default_factory=Counter)

    async def look(self, reader: Reader) -> None:
        """Takes the rows that are new, by their offsets, which a partition stores in order."""
        rows = await reader.fetch(
            "select source_partition, source_offset,"
            " extract(epoch from clock_timestamp() - received_at)::float8 as age"
            f" from {self.table} where source_offset >= case source_partition"
            " when 0 then $1::bigint else $2::bigint end",
            self._next[0],
            self._next[1],
        )
        now = asyncio.get_running_loop().time()
        for partition, offset, age in rows:
            self._next[partition] = max(self._next[partition], offset + 1)
            self.found.append((now, age))

    def between(self, since: float, until: float) -> list[float]:
        """The ages of rows seen in this span, ascending."""
        return sorted(age for seen, age in self.found if since <= seen < until)


@asynccontextmanager
async def watched(ages: list[Ages], reader: Reader) -> AsyncIterator[None]:
    """Looks again and again for as long as the block lasts."""

    async def looking() -> None:
        while True:
            for one in ages:
                await one.look(reader)
            await asyncio.sleep(_POLL_S)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(looking())
        yield
        task.cancel()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a neighbour saw in one phase; seconds."""

    requests: int
    p50: float
    p99: float
    age: float
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms;"
            f" row age p99 {self.age:.2f} s of {self.rows} rows"
        )


def seen(flow: Flow, ages: Ages, since: float, until: float) -> Seen:
    took, age = flow.latencies(since, until), ages.between(since, until)
    assert took, "nothing was acknowledged"
    assert age, "nothing was stored"
    return Seen(
        len(took), percentile(took, 0.5), percentile(took, 0.99), percentile(age, 0.99), len(age)
    )


PHASES: dict[str, tuple[float, dict[str, Any]]] = {
    "ten times its limit": (10.0, {"alone": 0.02, "malformed": 0.0}),
    "all poison": (0.9, {"alone": 0.02, "malformed": 1.0}),
    "one key with 90 %": (0.9, {"alone": 0.02, "malformed": 0.0, "hot": 0.9}),
}
"""Multiple of the limit, and shape, of what the third tenant sends."""


async def test_two_tenants_notice_nothing_of_what_a_third_one_does(
    make_tenant: MakeTenant, settings: Settings, reader: Reader, seed: int, say: Say
) -> None:
    limits = UNLIMITED | {"perKey": {"rate": LIMIT, "burst": 5_000}}
    third = await make_tenant(spec={"rateLimit": limits})
    shape = Shape(alone=0.5, batch=(2, 20), malformed=0.0)
    others = [Flow(await make_tenant(), RATE, shape) for _ in range(2)]
    ages = [Ages(flow.tenant.rows) for flow in others]
    load = Load(others, seed)
    loop = asyncio.get_running_loop()
    phases: dict[str, list[Seen]] = {}
    answers: dict[str, dict[str, int]] = {}

    async with under(load, within=60), watched(ages, reader):
        await asyncio.sleep(CALM_S)
        since = loop.time()
        await asyncio.sleep(PHASE_S)
        quiet = [seen(*pair, since, loop.time()) for pair in zip(others, ages, strict=True)]
        for name, (multiple, shaped) in PHASES.items():
            since = loop.time()
            flood = Flood(
                url=third.url,
                key=third.key,
                rate=multiple * LIMIT,
                seconds=PHASE_S,
                shape=shaped,
            )
            answers[name] = await flood.run()
            phases[name] = [
                seen(*pair, since, loop.time()) for pair in zip(others, ages, strict=True)
            ]
            await asyncio.sleep(CALM_S)

    report = await verify(load, settings)
    for one in quiet:
        say(f"quiet: {one}")
    for name, found in phases.items():
        say(f"{name}: events by answer {answers[name]}")
        for one in found:
            say(f"{name}: {one}")
    for figure in report.figures:
        say(figure)
    flooded = answers["ten times its limit"]
    assert sum(flooded.values()) >= 0.9 * 10 * LIMIT * PHASE_S, "the flood was no flood"
    assert flooded.get("429", 0) > flooded["202"]
    assert answers["all poison"].get("202", 0) + answers["all poison"]["422"] > 0
    assert [flow.failures for flow in others] == [{}, {}]
    for name, found in phases.items():
        for before, one in zip(quiet, found, strict=True):
            assert one.p99 <= max(SLOWER * before.p99, FLOOR_S), f"{name}: {one}"
            assert one.age <= ROW_AGE_S, f"{name}: {one}"
    assert report.problems == []
    state = await reader.fetchval(
        "select state from argus.pipeline_ledger where topic = $1", third.topic
    )
    assert state == "open", f"the third tenant's own pipeline is {state}"
