"""One record that cannot be stored, straight into the topic: those behind it hardly wait."""

import asyncio

import pytest
from argus_cli import database, log
from argus_cli.settings import Settings

from tests.chaos.load import percentile
from tests.chaos.scenarios.conftest import MakeTenant, Reader, Say
from tests.chaos.scenarios.poison import GOOD, HUGE, write, writing
from tests.chaos.scenarios.span import span
from tests.e2e.books import failures, settled

DELAY_S = 2.0
ROUNDS = span(5, 20)
AROUND = 200
"""Good records of the same partition before the poison, and as many behind it."""
WITHIN_S = 30.0

pytestmark = pytest.mark.timeout(300)


async def test_one_poison_record_hardly_delays_those_behind_it(
    make_tenant: MakeTenant, settings: Settings, reader: Reader, say: Say
) -> None:
    tenant = await make_tenant(pipeline={"topic": {"partitions": 1}})
    loop = asyncio.get_running_loop()

    async def stored(offset: int) -> float:
        """Seconds until this offset is accounted for, from now."""
        began = loop.time()
        query = "select next_offset from argus.offsets where topic = $1 and partition = 0"
        while (await reader.fetchval(query, tenant.topic) or 0) <= offset:
            assert loop.time() - began < WITHIN_S, f"offset {offset} is not stored"
            await asyncio.sleep(0.01)
        return loop.time() - began

    async def round(poison: bool) -> float:
        async with asyncio.TaskGroup() as group:
            for _ in range(AROUND):
                group.create_task(write(producer, tenant, GOOD))
        if poison:
            await write(producer, tenant, HUGE)
        async with asyncio.TaskGroup() as group:
            behind = [group.create_task(write(producer, tenant, GOOD)) for _ in range(AROUND)]
        return await stored(max(task.result()[1] for task in behind))

    async with writing(settings) as producer:
        await round(poison=False)
        without = sorted([await round(poison=False) for _ in range(ROUNDS)])
        poisoned = sorted([await round(poison=True) for _ in range(ROUNDS)])

    async with (
        database.reading(settings.require_database()) as held,
        log.reading(settings.require_kafka()) as records,
    ):
        books = await settled(held, records, tenant)
    say(
        f"{2 * AROUND} records stored after p50 {percentile(without, 0.5):.2f} s, "
        f"with one poison record among them {percentile(poisoned, 0.5):.2f} s, "
        f"{poisoned[-1]:.2f} s at most; of {ROUNDS} rounds each"
    )
    assert poisoned[-1] - without[0] < DELAY_S
    assert sum(line.dead_lettered for line in books.lines) == ROUNDS
    assert failures(books) == []
