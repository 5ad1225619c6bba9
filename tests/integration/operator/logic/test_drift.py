"""What another hand changed in an engine, put back."""

from collections.abc import Awaitable, Callable

import pytest
from argus_contract.keys import KeyKind, generate, hash_key
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash.drifts import DRIFTS
from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.__name__)
async def test_it_is_put_back_as_often_as_it_happens(
    running: Stage, drift: Callable[[Stage], Awaitable[None]]
) -> None:
    before = await running.end_state()
    for _ in range(2):
        await drift(running)
        await running.settle()

        assert await running.end_state() == before


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.__name__)
async def test_a_round_wakes_whom_it_concerns_and_at_rest_nobody(
    running: Stage, drift: Callable[[Stage], Awaitable[None]]
) -> None:
    await running.settle()
    assert await running.woken() == set()

    await drift(running)
    assert await running.woken() == {running.family}


async def test_a_deleted_secret_gets_another_key_and_a_warning(running: Stage) -> None:
    old = (await running.document()).keys[0].hash
    await running.write_secret(None)
    await running.settle()
    held = await running.secret()

    assert held is not None
    assert (await running.document()).keys[0].hash == hash_key(held["default"]) != old
    assert "KeysRegenerated" in await running.events(SHOP)
    assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")


async def test_a_key_that_is_none_is_replaced_and_a_stranger_removed(running: Stage) -> None:
    old = (await running.document()).keys[0].hash
    await running.write_secret({"default": "changeme", "password": "x"})
    await running.settle()
    held = await running.secret()

    assert held is not None
    assert set(held) == {"default"}
    assert (await running.document()).keys[0].hash == hash_key(held["default"]) != old


async def test_a_key_written_by_hand_is_taken(running: Stage) -> None:
    mine = generate(KeyKind.SERVER)
    await running.write_secret({"default": mine})
    await running.settle()

    assert await running.secret() == {"default": mine}
    assert (await running.document()).keys[0].hash == hash_key(mine)
