"""Guarantee 6 at the edge: a tenant at ten times its limit is no other's business.

Two processes serve; the quiet tenants send to one. Phases in which the flood goes to the other and
to the same one alternate, so the machine has the same work in both, and what differs is what the
tenants do to each other inside of a process. The best phase of each kind is compared: whatever else
the machine does only adds to either. There are more rounds where the first do not tell. The figures
are printed.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from argus_contract.registry import Bucket

from tests.integration.ingest.conftest import Kafka, Run, Tenant, pipeline, tenant
from tests.integration.ingest.wire import Connection, request

ROOT: Final = Path(__file__).parents[3]
FEWEST: Final = 3
MOST: Final = 12
"""Rounds, each of a phase with the flood elsewhere and one with it here."""
PHASE: Final = 2.0
"""Seconds of one phase."""
PAUSE: Final = 0.005
"""Seconds between two requests of a quiet tenant."""
NOISE: Final = 0.005
"""Seconds that no ratio is made of: turns of two processes on one core."""
EVENT: Final = b'{"event":"signup","properties":{"plan":"pro"}}'


async def quiet(port: int, who: Tenant, statuses: Counter[int]) -> list[float]:
    """Seconds of each answer to one event after another, for a phase."""
    loop, connection = asyncio.get_running_loop(), Connection(port)
    raw, end, seconds = request(who.server_key, EVENT), loop.time() + PHASE, []
    while loop.time() < end:
        answer = await connection.send(raw)
        statuses[answer.status] += 1
        seconds.append(answer.seconds)
        await asyncio.sleep(PAUSE)
    connection.close()
    return seconds


async def start_flood(port: int, key: str, events: int, rate: float) -> asyncio.subprocess.Process:
    """Floods for a phase and a second; returns when it has begun."""
    flood = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.ingest.flood",
        *map(str, (port, key, events, rate, PHASE + 1)),
        cwd=ROOT,
        env={**os.environ, "PYTHONASYNCIODEBUG": ""},
        stdout=asyncio.subprocess.PIPE,
    )
    assert flood.stdout is not None
    assert await flood.stdout.readline() == b"begun\n"
    return flood


def best(phases: list[list[float]]) -> tuple[float, float]:
    """The lowest p50 and the lowest p99 of any phase."""
    p50, p99 = (
        min(sorted(seconds)[int(part * len(seconds))] for seconds in phases) for part in (0.5, 0.99)
    )
    return p50, p99


def holds(apart: list[list[float]], beside: list[list[float]]) -> bool:
    return best(beside)[1] <= 2 * best(apart)[1] + NOISE


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("events", "limit"), [(1, 100.0), (200, 2_000.0)], ids=["single events", "batches"]
)
async def test_a_tenant_at_ten_times_its_limit_is_not_felt_by_two_others(
    broker: Kafka, run_edge: Run, events: int, limit: float
) -> None:
    loud = tenant(pipeline("main", await broker.create()), per_key=Bucket(limit, limit))
    others = [tenant(pipeline("main", await broker.create())) for _ in range(2)]
    await broker.publish(loud, *others)
    statuses: Counter[int] = Counter()
    flooded: Counter[str] = Counter()
    apart: list[list[float]] = []
    beside: list[list[float]] = []
    async with run_edge() as edge, run_edge() as elsewhere:
        await edge.until_ready()
        await elsewhere.until_ready()

        async def phase(port: int) -> tuple[list[float], dict[str, int]]:
            flood = await start_flood(port, loud.server_key, events, 10 * limit / events)
            both = await asyncio.gather(*(quiet(edge.port, who, statuses) for who in others))
            printed, _ = await flood.communicate()
            return both[0] + both[1], json.loads(printed)

        while len(beside) < FEWEST or (len(beside) < MOST and not holds(apart, beside)):
            seconds, _ = await phase(elsewhere.port)
            apart.append(seconds)
            seconds, answers = await phase(edge.port)
            beside.append(seconds)
            flooded.update(answers)
        early = (await edge.metrics()).get(
            f'argus_ingest_limited_early_total{{tenant="{loud.document.display}"}}', 0
        )
    before, after = best(apart), best(beside)
    passed = flooded["202"] * events
    print(
        f"\n{events} events a request at 10 x {limit:g} events/s: {passed} events passed; of "
        f"{flooded['429']} refused requests {early:g} before their body was read. Two others: "
        f"{dict(statuses)}, p50 {before[0] * 1e3:.1f} -> {after[0] * 1e3:.1f} ms, "
        f"p99 {before[1] * 1e3:.1f} -> {after[1] * 1e3:.1f} ms, best of {len(beside)} rounds"
    )
    assert statuses.keys() == {202}
    assert flooded.keys() == {"202", "429"}
    assert passed >= 0.5 * limit * len(beside) * (PHASE + 1)
    assert holds(apart, beside)
