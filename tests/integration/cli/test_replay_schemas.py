"""Letters that a JSON Schema refused, replayed through the real log, stream and database."""

import pytest
from argus_cli.database import Database
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_contract.rejects import Code
from rich.console import Console

from tests.integration.cli.test_replay import audited, replay
from tests.integration.stream.test_validation import publish
from tests.integration.stream.world import World, event

pytestmark = pytest.mark.timeout(180)

STRICT = '{"properties":{"plan":{"enum":["free"]}}}'
WIDER = '{"properties":{"plan":{"enum":["free","paid"]}}}'


async def test_what_the_mended_schema_takes_is_stored_once_and_the_rest_not_published(
    world: World, settings: Settings, console: Console, view: Database, records: Log
) -> None:
    pipeline = await publish(world, await world.add_pipeline("web"), STRICT)
    plans = ["free", "paid", "paid", "gold"]
    await world.produce(
        pipeline, [event("signup", properties=f'{{"plan":"{plan}"}}') for plan in plans]
    )
    async with world.stream():
        ledger = await world.settled(pipeline, 4)
        assert (ledger["stored"], ledger["dead_lettered"]) == (1, 3)
        before = await replay(world, settings, console)
        assert (before.replayed, before.refused) == (0, {Code.SCHEMA: 3})
        await publish(world, pipeline, WIDER)
    async with world.stream():
        after = await replay(world, settings, console)
        assert (after.replayed, after.stored, after.refused) == (2, 2, {Code.SCHEMA: 1})
        again = await replay(world, settings, console)
        assert (again.replayed, again.settled) == (0, 2)

    assert len(await world.rows(pipeline)) == 3
    await audited(world, view, records)
