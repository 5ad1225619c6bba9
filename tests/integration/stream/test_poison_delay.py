"""One poison record that only the database can find, in a partition that never rests."""

import asyncio
import time

from tests.integration.stream.test_fairness import ages
from tests.integration.stream.world import World, event

RATE = 2_000
"""Events a second, all of them in one partition."""
SECONDS = 8.0
DELAY = 2.0
"""What the poison record may cost the others, in seconds."""


async def test_a_poison_record_delays_the_others_of_its_partition_by_under_two_seconds(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CHECK (event <> 'poison')")
    sent, poisoned = 0, False
    async with world.stream():
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1, within=30)
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < SECONDS:
            some = [event() for _ in range(int(elapsed * RATE) - sent)]
            sent += len(some)
            if elapsed > SECONDS / 2 and not poisoned:
                poisoned = True
                some.insert(len(some) // 2, event("poison"))
            await world.produce(pipeline, some)
            await asyncio.sleep(0.01)
        ledger = await world.settled(pipeline, 1 + sent + 1)
    assert (ledger["stored"], ledger["dead_lettered"]) == (1 + sent, 1)
    assert sent >= 0.9 * RATE * SECONDS, "the load was as it is said to be"
    late = await ages(world, pipeline)
    print(f"\n{sent / SECONDS:.0f} events/s, one of them poison: oldest row {max(late):.2f} s")
    assert max(late) < DELAY
