"""When what Redis counts is raised to what the ledger says."""

from collections.abc import Mapping
from typing import Any

import pytest
from argus_contract.quotas import Usage, day_of, month_of
from argus_contract.times import to_micros
from argus_operator.errors import UnavailableError
from argus_operator.reconcile.usage import UsageBook

from tests.unit.operator.fakes import away
from tests.unit.operator.world import World

QUOTA: Mapping[str, Any] = {"rateLimit": {"quota": {"daily": 10_000, "monthly": 100_000}}}


def now(world: World, daily: int, monthly: int) -> Usage:
    """As much used on the world's present day and in its month."""
    micros = to_micros(world.now)
    return Usage(day_of(micros), daily, month_of(micros), monthly)


@pytest.fixture
async def limited(world: World) -> World:
    """A tenant with quotas that sent 6,000 events, all of which were counted."""
    world.tenant(QUOTA)
    world.pipeline()
    await world.settle()
    world.usage.usage[world.id] = now(world, 6_000, 6_000)
    world.write_ledger(log_end=6_000)
    await world.look()
    world.usage.raised.clear()
    return world


async def test_what_is_there_and_grows_is_left_alone(limited: World) -> None:
    asked = len(limited.usage.raised)
    for sent in (6_000, 7_000, 9_000):
        limited.usage.usage[limited.id] = now(limited, sent, sent)
        await limited.look()

    assert len(limited.usage.raised) == asked


async def test_what_was_lost_is_raised_at_the_next_look_and_once(limited: World) -> None:
    limited.usage.usage.clear()
    for _ in range(3):
        await limited.look()

    assert limited.usage.raised == [limited.id]
    assert limited.usage.usage[limited.id] == now(limited, 6_000, 6_000)


async def test_what_has_fallen_is_raised(limited: World) -> None:
    limited.usage.usage[limited.id] = now(limited, 10, 10)
    await limited.look()

    assert limited.usage.usage[limited.id] == now(limited, 6_000, 6_000)


async def test_nothing_is_ever_lowered(limited: World) -> None:
    limited.write_ledger(log_end=100)
    limited.usage.usage[limited.id] = now(limited, 5_999, 5_999)
    await limited.look()

    assert limited.usage.raised == [limited.id]
    assert limited.usage.usage[limited.id] == now(limited, 5_999, 5_999)


async def test_what_passed_while_redis_was_away_is_counted_when_it_is_back(limited: World) -> None:
    limited.usage.error = away("RedisUnavailable")
    with pytest.raises(UnavailableError):
        await limited.look()
    limited.usage.error = None
    limited.write_ledger(log_end=8_000)
    await limited.look()

    assert limited.usage.usage[limited.id] == now(limited, 8_000, 8_000)


async def test_a_process_that_is_new_looks_after_all(limited: World) -> None:
    limited.write_ledger(log_end=7_000)
    await UsageBook(limited.usage, limited.database).refresh(limited.registry.documents)

    assert limited.usage.usage[limited.id] == now(limited, 7_000, 7_000)


async def test_a_quota_that_is_new_begins_with_what_was_sent_before(world: World) -> None:
    world.tenant()
    world.pipeline()
    await world.settle()
    world.write_ledger(log_end=3_000)
    await world.look()
    assert not world.usage.usage

    world.tenant(QUOTA)
    await world.look()
    await world.look()
    assert world.usage.usage[world.id] == now(world, 3_000, 3_000)


async def test_while_the_database_is_away_it_is_owed(limited: World) -> None:
    limited.usage.usage.clear()
    limited.database.error = away("DatabaseUnavailable")
    with pytest.raises(UnavailableError):
        await limited.used.refresh(limited.registry.documents)
    assert not limited.usage.usage

    limited.database.error = None
    await limited.look()
    assert limited.usage.usage[limited.id] == now(limited, 6_000, 6_000)


async def test_the_next_day_begins_at_its_mark(limited: World) -> None:
    await limited.reconcile(86_400)
    await limited.look()
    limited.write_ledger(log_end=7_500)
    limited.usage.usage.clear()
    await limited.look()

    assert limited.usage.usage[limited.id] == now(limited, 1_500, 7_500)


async def test_a_tenant_without_a_quota_is_not_counted(running: World) -> None:
    await running.look()

    assert not running.usage.raised
