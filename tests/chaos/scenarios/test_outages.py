"""An engine is away for minutes under load: what was acknowledged is there, all else goes on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from argus_cli import books, database, log
from argus_cli.settings import Settings

from tests.chaos import pods
from tests.chaos.engine_faults import PORTS
from tests.chaos.fault import metric
from tests.chaos.load import Flow, Load, acknowledged_share
from tests.chaos.scenarios.conftest import MakeTenant, Say
from tests.chaos.scenarios.outage import answers, away, reachable, under
from tests.chaos.scenarios.span import span
from tests.chaos.verify import verify
from tests.e2e.tenants import TENANT

OUTAGE_S = span(45.0, 300.0)
WARM_S = 10.0
RATE = 70.0
"""Events/s of each of three tenants."""
TENANTS = 3
RETURN_S = 5.0
"""From the moment at which the broker takes connections to the first acknowledgement."""
GROWTH = 128 * 1024 * 1024
"""Bytes by which an ingest pod may grow: the 96 MiB that it may hold for requests in flight, and a
third more."""
DRAINED_S = 300.0
MIB = 1024 * 1024

pytestmark = pytest.mark.timeout(1500)


@asynccontextmanager
async def meanwhile(sample: Callable[[], Awaitable[None]], every: float) -> AsyncIterator[None]:
    """Takes a sample at once, and again each `every` seconds for as long as the block lasts."""

    async def sampling() -> None:
        while True:
            await sample()
            await asyncio.sleep(every)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(sampling())
        yield
        task.cancel()


async def flows(make_tenant: MakeTenant) -> list[Flow]:
    return [Flow(await make_tenant(), RATE) for _ in range(TENANTS)]


async def memory() -> int:
    """Resident bytes of the largest ingest pod."""
    found = [
        await metric(pod, "process_resident_memory_bytes") for pod in await pods.look("ingest")
    ]
    return round(max(found))


def first_success(load: Load, since: float) -> float:
    """Seconds from that moment to the first acknowledgement."""
    ends = [
        attempt.started + attempt.took
        for flow in load.flows
        for attempt in flow.attempts
        if attempt.acknowledged
    ]
    return min((end - since for end in ends if end >= since), default=float("inf"))


async def test_kafka_is_away_under_load(
    make_tenant: MakeTenant, settings: Settings, seed: int, say: Say
) -> None:
    load = Load(await flows(make_tenant), seed)
    sizes: list[int] = []
    loop = asyncio.get_running_loop()

    async def sample() -> None:
        sizes.append(await memory())

    async with under(load, within=DRAINED_S):
        await asyncio.sleep(WARM_S)
        before = await memory()
        async with away("kafka"), meanwhile(sample, 5.0):
            gone = loop.time()
            await asyncio.sleep(OUTAGE_S)
        back = await answers("kafka", PORTS["kafka"])
        await pods.all_ready()
        await reachable(settings)
        await asyncio.sleep(WARM_S)

    missed = acknowledged_share(load.flows, [(0, gone), (back, float("inf"))])
    first = first_success(load, back)
    report = await verify(load, settings)
    say(
        f"Kafka away for {back - gone:.0f} s: {missed[1]} events offered, {missed[0]} acknowledged "
        f"at the first attempt; first success {first:.1f} s after the broker's return"
    )
    say(
        f"largest ingest pod: {before / MIB:.0f} MiB before, "
        f"{max(sizes) / MIB:.0f} MiB at most during the outage"
    )
    for figure in report.figures:
        say(figure)
    assert missed[1] > 0
    assert first <= RETURN_S
    assert max(sizes) - before <= GROWTH
    assert report.problems == []


async def unread(load: Load, settings: Settings) -> int:
    """Records of all tenants that are not stored, by the broker's own log ends."""
    async with (
        database.reading(settings.require_database()) as held,
        log.reading(settings.require_kafka()) as records,
    ):
        total = 0
        for flow in load.flows:
            lines = await held.lines(flow.tenant.namespace, TENANT)
            total += sum(line.in_flight for line in await books.with_log_ends(lines, records))
        return total


async def drained(load: Load, settings: Settings, offered: float) -> Sequence[tuple[float, int]]:
    """Times and unread records until no more are unread than arrive within 2 s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DRAINED_S
    samples = [(loop.time(), await unread(load, settings))]
    while samples[-1][1] > 2 * offered:
        assert loop.time() < deadline, f"still {samples[-1][1]} unread"
        await asyncio.sleep(0.25)
        samples.append((loop.time(), await unread(load, settings)))
    return samples


async def test_postgresql_is_away_under_load(
    make_tenant: MakeTenant, settings: Settings, seed: int, say: Say
) -> None:
    load = Load(await flows(make_tenant), seed)
    offered = RATE * TENANTS
    loop = asyncio.get_running_loop()

    async with under(load, within=60):
        await asyncio.sleep(WARM_S)
        async with away("postgres"):
            gone = loop.time()
            await asyncio.sleep(OUTAGE_S)
        back = await answers("postgres", PORTS["postgres"])
        await pods.all_ready()
        await reachable(settings)
        samples = await drained(load, settings, offered)

    good, total = acknowledged_share(load.flows, [(0, gone), (back, float("inf"))])
    failures = sum((flow.failures for flow in load.flows), start=Counter[str]())
    (began, most), (ended, least) = samples[0], samples[-1]
    rate = (most - least) / (ended - began) + offered if ended > began else float("inf")
    report = await verify(load, settings)
    say(
        f"PostgreSQL away for {back - gone:.0f} s: {good} of {total} events acknowledged at the "
        f"first attempt; {dict(failures)} failed"
    )
    say(
        f"unread when all pods were ready again: {most}; drained {ended - back:.0f} s after the "
        f"return, {rate:.0f} records/s stored while {offered:.0f} arrived"
    )
    for figure in report.figures:
        say(figure)
    assert good == total > 0
    assert report.problems == []
