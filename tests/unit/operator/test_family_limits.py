"""Tiers that change, quotas that are used up, keys that are used: what a tenant's status says."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from argus_contract.keys import HASH_PREFIX
from argus_contract.quotas import Usage, day_of, month_of
from argus_contract.times import to_micros
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile.usage import UsageBook
from argus_operator.settings import Tier

from tests.unit.operator.fakes import away
from tests.unit.operator.world import SECRET, SHOP, World

QUOTA: Mapping[str, Any] = {"rateLimit": {"quota": {"daily": 10_000}}}


def spend(world: World, count: int) -> None:
    """Ingest has counted so many events today."""
    now = to_micros(world.now)
    world.usage.usage[world.id] = Usage(day_of(now), count, month_of(now), count)


@pytest.fixture
async def limited(running: World) -> World:
    """A tenant with a daily quota of which 6,000 of 10,000 events are used."""
    running.tenant(QUOTA)
    await running.settle()
    await running.look()
    spend(running, 6_000)
    await running.look()
    return running


async def test_another_tier_of_the_same_name_applies_at_the_next_look(running: World) -> None:
    running.tiers = {"standard": Tier.model_validate({"perIP": {"rate": 7, "burst": 7}})}
    await running.look()

    assert running.document.limits.per_ip.rate == 7


async def test_a_quota_shows_how_much_of_it_is_used(limited: World) -> None:
    midnight = (limited.now + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    resets = midnight.strftime("%Y-%m-%dT%H:%M:%SZ")

    assert limited.cluster.status(TENANTS, SHOP)["quota"] == {
        "daily": {"limit": 10_000, "usedPercent": 60, "resetsAt": resets}
    }
    assert limited.ready() == ("True", "Accepting")


async def test_a_quota_that_is_used_up_is_no_readiness_until_the_next_day(limited: World) -> None:
    spend(limited, 10_000)
    await limited.look()
    assert limited.ready() == ("False", "QuotaExceeded")
    assert "QuotaExceeded" in limited.cluster.told(SHOP)

    await limited.reconcile(86_400)
    await limited.look()
    assert limited.ready() == ("True", "Accepting")


async def test_a_higher_quota_is_readiness_at_once(limited: World) -> None:
    spend(limited, 10_000)
    await limited.look()
    limited.tenant({"rateLimit": {"quota": {"daily": 20_000}}})
    await limited.reconcile(1)

    assert limited.ready() == ("True", "Accepting")
    assert limited.cluster.status(TENANTS, SHOP)["quota"]["daily"]["usedPercent"] == 50


async def test_a_quota_that_is_only_observed_takes_no_readiness(limited: World) -> None:
    limited.tenant({"rateLimit": {"quota": {"daily": 10_000}, "mode": "observe"}})
    spend(limited, 10_000)
    await limited.look()

    assert limited.ready() == ("True", "Accepting")
    assert limited.cluster.status(TENANTS, SHOP)["quota"]["daily"]["usedPercent"] == 100


async def test_a_quota_that_is_taken_away_leaves_the_status(limited: World) -> None:
    limited.tenant({})
    await limited.reconcile()

    assert "quota" not in limited.cluster.status(TENANTS, SHOP)


async def test_one_of_two_quotas_that_is_taken_away_leaves_the_status(limited: World) -> None:
    limited.tenant({"rateLimit": {"quota": {"daily": 10_000, "monthly": 20_000}}})
    await limited.reconcile()
    assert set(limited.cluster.status(TENANTS, SHOP)["quota"]) == {"daily", "monthly"}
    limited.tenant({"rateLimit": {"quota": {"daily": 0, "monthly": 20_000}}})
    await limited.reconcile()
    assert set(limited.cluster.status(TENANTS, SHOP)["quota"]) == {"monthly"}

    writes = limited.cluster.status_writes
    await limited.reconcile()
    assert limited.cluster.status_writes == writes


async def test_figures_stay_while_redis_is_away(limited: World) -> None:
    spend(limited, 10_000)
    await limited.look()
    before = limited.cluster.status(TENANTS, SHOP)
    limited.usage.error = away("RedisUnavailable")
    await limited.reconcile()

    assert limited.cluster.status(TENANTS, SHOP) == before


async def test_a_new_process_takes_over_what_the_status_shows(limited: World) -> None:
    """Before it has asked Redis for the first time, it flips no condition."""
    spend(limited, 10_000)
    await limited.look()
    writes = limited.cluster.status_writes
    limited.reconciler._usage = UsageBook(limited.usage, limited.database)
    await limited.reconcile()

    assert limited.cluster.status_writes == writes


async def test_the_same_use_writes_nothing(limited: World) -> None:
    writes = limited.cluster.status_writes
    for count in (6_100, 6_200, 6_499):
        spend(limited, count)
        await limited.look()

    assert limited.cluster.status_writes == writes


async def test_a_key_shows_the_hour_in_which_it_was_last_used(running: World) -> None:
    [key] = running.document.keys
    running.usage.used[running.id] = {key.hash: int(running.now.timestamp()) // 60}
    await running.look()
    hour = running.now.strftime("%Y-%m-%dT%H:00:00Z")
    assert running.cluster.status(TENANTS, SHOP)["keys"][0]["lastUsed"] == hour

    running.usage.used.clear()
    await running.look()
    assert running.cluster.status(TENANTS, SHOP)["keys"][0]["lastUsed"] == hour


async def test_a_rotated_key_takes_its_last_use_along(running: World) -> None:
    [key] = running.document.keys
    running.usage.used[running.id] = {key.hash: int(running.now.timestamp()) // 60}
    await running.look()
    hour = running.cluster.status(TENANTS, SHOP)["keys"][0]["lastUsed"]
    running.tenant(annotations={"argus.dev/rotate": "default"})
    await running.settle()
    [shown] = running.cluster.status(TENANTS, SHOP)["keys"]

    assert "lastUsed" not in shown
    assert shown["previous"]["hashPrefix"] == key.hash[:HASH_PREFIX]
    assert shown["previous"]["lastUsed"] == hour
    assert key.hash not in str(running.cluster.secrets[SECRET].notes)


async def test_what_was_counted_of_a_tenant_goes_with_it(
    limited: World,
) -> None:
    id_ = limited.id
    limited.tenant({**QUOTA, "deletionPolicy": "Delete"})
    await limited.settle()
    limited.cluster.delete(TENANTS, SHOP)
    await limited.settle()

    assert limited.counters.dropped_tenants == [id_]
    assert id_ not in limited.usage.usage
