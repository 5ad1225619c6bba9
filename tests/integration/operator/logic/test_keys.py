"""Keys that are replaced, by request and by schedule, and revoked."""

import pytest
from argus_contract.keys import hash_key
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

HOUR_S = 3_600.0


async def held(stage: Stage) -> dict[str, str]:
    """What the Secret holds, by hashes."""
    return {name: hash_key(key) for name, key in (await stage.secret() or {}).items()}


async def told(stage: Stage) -> dict[str, bool]:
    """What pods take, by hashes; whether only for a grace."""
    return {key.hash: key.until is not None for key in (await stage.document()).keys}


async def annotations(stage: Stage) -> dict[str, str]:
    found: dict[str, str] = (await stage.present(TENANTS, SHOP))["metadata"].get("annotations", {})
    return found


class TestRotation:
    async def test_both_keys_are_taken_until_the_grace_ends(self, running: Stage) -> None:
        old = (await held(running))["default"]
        await running.annotate(TENANTS, SHOP, rotate="default")
        await running.settle()
        now = await held(running)
        assert now["default.previous"] == old != now["default"]
        assert await told(running) == {now["default"]: False, old: True}
        assert not await annotations(running)
        assert "KeysRotated" in await running.events(SHOP)

        await running.pass_time(24 * HOUR_S + 1)
        await running.settle()
        assert await held(running) == {"default": now["default"]}
        assert await told(running) == {now["default"]: False}
        assert "KeyRetired" in await running.events(SHOP)

    async def test_one_within_the_grace_is_refused(self, running: Stage) -> None:
        await running.annotate(TENANTS, SHOP, rotate="default")
        await running.settle()
        before = await held(running)
        await running.annotate(TENANTS, SHOP, rotate="default")
        await running.settle()

        assert await held(running) == before
        assert not await annotations(running)
        assert "RotationRefused" in await running.events(SHOP)

    async def test_a_schedule_replaces_a_key_at_its_age(self, running: Stage) -> None:
        old = (await held(running))["default"]
        await running.tenant(rotation={"every": "3h", "gracePeriod": "1h"})
        await running.settle()
        assert await told(running) == {old: False}

        await running.pass_time(3 * HOUR_S + 1)
        await running.settle()
        now = await held(running)
        assert now["default.previous"] == old
        assert await told(running) == {now["default"]: False, old: True}


class TestRevocation:
    async def test_a_leaked_key_is_replaced_at_once(self, running: Stage) -> None:
        leaked = (await held(running))["default"]
        await running.annotate(TENANTS, SHOP, revoke="default")
        await running.settle()
        now = await held(running)

        assert set(now) == {"default"}
        assert await told(running) == {now["default"]: False}
        assert leaked not in now.values()
        assert not await annotations(running)
        assert "KeyRevoked" in await running.events(SHOP)

    async def test_it_waits_for_no_pause(self, running: Stage) -> None:
        leaked = (await held(running))["default"]
        await running.annotate(TENANTS, SHOP, paused="true", revoke="default")
        await running.settle()

        assert leaked not in await told(running)
        assert set(await told(running)) == set((await held(running)).values())

    async def test_an_unknown_key_is_told(self, running: Stage) -> None:
        before = await held(running)
        await running.annotate(TENANTS, SHOP, revoke="nobody")
        await running.settle()

        assert await held(running) == before
        assert not await annotations(running)
        assert "UnknownKey" in await running.events(SHOP)
