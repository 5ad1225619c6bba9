"""Tiers that change under the operator, quotas and what is used of them, the last use of keys."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from argus_contract.keys import hash_key
from argus_contract.registry import Bucket
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash.scenarios import DELETE
from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

SLOW: Mapping[str, Any] = {
    "perKey": {"rate": 9, "burst": 9_000},
    "perIP": {"rate": 7, "burst": 7},
    "quota": {"daily": 10_000},
    "concurrency": 5,
    "mode": "observe",
}
QUOTA: Mapping[str, Any] = {"quota": {"daily": 10_000, "monthly": 100_000}}


class TestTiers:
    async def test_another_version_of_the_file_applies_without_a_restart(
        self, running: Stage
    ) -> None:
        await running.settle()
        assert await running.woken() == set()
        await running.define_tiers({"standard": SLOW})
        assert await running.woken() == {running.family}
        await running.reconcile(running.family)
        found = (await running.document()).limits

        assert (found.per_key, found.per_ip) == (Bucket(9, 9_000), Bucket(7, 7))
        assert (found.daily, found.monthly) == (10_000, None)
        assert (found.concurrency, found.observe) == (5, True)

    async def test_a_change_of_another_tier_wakes_nobody(self, running: Stage) -> None:
        await running.settle()
        assert await running.woken() == set()
        await running.define_tiers({"standard": {}, "slow": SLOW})

        assert await running.woken() == set()

    async def test_overrides_win(self, running: Stage) -> None:
        own = {"perIP": {"rate": 3, "burst": 3}, "quota": {"daily": 0}, "mode": "enforce"}
        await running.tenant(rateLimit=own)
        await running.define_tiers({"standard": SLOW})
        await running.settle()
        found = (await running.document()).limits

        assert (found.per_key, found.per_ip) == (Bucket(9, 9_000), Bucket(3, 3))
        assert (found.daily, found.concurrency, found.observe) == (None, 5, False)

    async def test_a_tier_that_is_defined_later_is_applied_then(self, running: Stage) -> None:
        await running.tenant(tier="slow")
        await running.settle()
        assert await running.condition(TENANTS, SHOP, "RegistryReady") == ("False", "UnknownTier")
        await running.define_tiers({"standard": {}, "slow": SLOW})
        await running.settle()

        assert (await running.document()).limits.per_ip == Bucket(7, 7)
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")


class TestQuota:
    @staticmethod
    async def begin(stage: Stage, used: int) -> None:
        """A tenant with a quota, of which so much is used, and all of that was counted."""
        await stage.tenant(rateLimit=QUOTA)
        await stage.settle()
        await stage.send(WEB, used, used)
        await stage.settle()

    async def used(self, stage: Stage) -> dict[str, tuple[int, int]]:
        status = (await stage.present(TENANTS, SHOP))["status"]["quota"]
        return {name: (one["limit"], one["usedPercent"]) for name, one in status.items()}

    async def test_the_status_says_how_much_is_used(self, running: Stage) -> None:
        await self.begin(running, 6_000)

        assert await self.used(running) == {"daily": (10_000, 60), "monthly": (100_000, 5)}
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")

    async def test_one_that_is_used_up_is_no_readiness_until_it_is_raised(
        self, running: Stage
    ) -> None:
        await self.begin(running, 10_000)
        assert await running.condition(TENANTS, SHOP) == ("False", "QuotaExceeded")
        await running.tenant(rateLimit={"quota": {"daily": 20_000}})
        await running.settle()

        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")
        assert await self.used(running) == {"daily": (20_000, 50)}

    @pytest.mark.parametrize("anew", [False, True], ids=["same-process", "another-process"])
    async def test_what_redis_forgot_is_told_by_the_ledger(
        self, running: Stage, anew: bool
    ) -> None:
        await self.begin(running, 10_000)
        before = await running.usage(await running.id())
        await running.lose_usage()
        if anew:
            await running.restart()
        await running.settle()

        assert await running.usage(await running.id()) == before
        assert await running.condition(TENANTS, SHOP) == ("False", "QuotaExceeded")

    async def test_what_was_sent_since_is_not_counted_twice(self, running: Stage) -> None:
        await self.begin(running, 6_000)
        await running.send(WEB, 7_000, 500)
        await running.settle()
        found = await running.usage(await running.id())

        assert found is not None
        assert (found.daily, found.monthly) == (7_000, 7_000)

    async def test_at_rest_nobody_is_woken(self, running: Stage) -> None:
        await self.begin(running, 6_000)
        await running.settle()
        assert await running.woken() == set()
        await running.send(WEB, 6_000, 6_100)

        assert await running.woken() == set()

    async def test_it_goes_with_a_tenant_that_is_deleted(self, stage: Stage) -> None:
        await DELETE(stage)
        await stage.settle()
        id_ = await stage.id()
        await stage.send(WEB, 5, 5)
        await stage.use_key("default", datetime.now(UTC))
        await stage.delete(TENANTS, SHOP)
        await stage.settle()

        assert await stage.usage(id_) is None
        assert not await stage.used(id_)


class TestLastUse:
    async def test_it_is_shown_in_whole_hours_and_goes_with_the_key_into_its_grace(
        self, running: Stage
    ) -> None:
        moment = datetime(2026, 5, 1, 12, 34, tzinfo=UTC)
        await running.use_key("default", moment)
        await running.settle()
        [shown] = (await running.present(TENANTS, SHOP))["status"]["keys"]
        assert shown["lastUsed"] == "2026-05-01T12:00:00Z"

        old = hash_key((await running.secret() or {})["default"])
        await running.annotate(TENANTS, SHOP, rotate="default")
        await running.settle()
        [shown] = (await running.present(TENANTS, SHOP))["status"]["keys"]
        assert "lastUsed" not in shown
        assert shown["previous"]["lastUsed"] == "2026-05-01T12:00:00Z"
        assert old.startswith(shown["previous"]["hashPrefix"])
