"""The running operator, tiers that change under it, and a Redis that forgets."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from argus_contract import quotas, redis_keys
from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_runtime.registry import RegistryTail
from redis.asyncio import Redis

from tests.integration.operator import process
from tests.integration.operator.apiserver import ApiServer
from tests.integration.operator.process import Engines, Operator
from tests.integration.operator.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
SMALL = {
    "tenantRef": {"name": "shop"},
    "topic": {"retention": {"bytes": "16Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
    "deletionPolicy": "Delete",
}
LIMITED = {"deletionPolicy": "Delete", "tier": "free"}
FREE = {"quota": {"daily": 10_000}}


@asynccontextmanager
async def told(operator: Operator) -> AsyncIterator[RegistryTail]:
    """The registry as a pod reads it."""
    tail = RegistryTail({"bootstrap_servers": operator.engines.kafka}, operator.registry_topic)
    task = asyncio.create_task(tail.run())
    yield tail
    task.cancel()
    await asyncio.wait({task})


def define(file: Path, text: str) -> None:
    """Puts another version in the place of the one before, at once as the kubelet does."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


async def test_tiers_apply_without_a_restart_and_a_lost_count_is_made_good(
    api: ApiServer, engines: Engines, tmp_path: Path
) -> None:
    tiers = tmp_path / "tiers.json"
    define(tiers, json.dumps({"standard": {}, "free": {}}))
    settings = {"ARGUS_TIERS_FILE": str(tiers), "ARGUS_RESYNC__INTERVAL": "1"}
    topic = f"argus.registry.{secrets.token_hex(4)}"
    async with process.running(api, engines, topic, tmp_path / "log", settings) as operator:
        namespace = await operator.namespace()
        await operator.create(TENANTS, namespace, "shop", LIMITED)
        await operator.create(PIPELINES, namespace, "web", SMALL)
        made = await operator.wait(PIPELINES, namespace, "web", "Accepting")
        tenant = await operator.wait(TENANTS, namespace, "shop", "Accepting")
        id_ = TenantId(tenant["status"]["id"])

        await _change_tiers(operator, tiers, id_)
        await _forget(operator, namespace, id_, made["status"]["topic"])

        for plural, name in ((PIPELINES, "web"), (TENANTS, "shop")):
            await operator.delete(plural, namespace, name)
            await operator.gone(plural, namespace, name)
        async with Redis.from_url(engines.redis_url) as redis:
            assert not await redis.exists(redis_keys.usage(id_))


async def _change_tiers(operator: Operator, tiers: Path, id_: TenantId) -> None:
    """A file that is no tiers changes nothing, one that is applies within a round."""
    async with told(operator) as tail:

        def daily() -> int | None:
            document = (tail.snapshot or {}).get(id_)
            return None if document is None else document.limits.daily

        define(tiers, "{")
        await eventually(lambda: _metric(operator, "argus_operator_tiers_invalid 1.0"), 20)
        assert daily() is None
        define(tiers, json.dumps({"standard": {}, "free": FREE}))
        await eventually(lambda: daily() == 10_000, 20)
        assert await _metric(operator, "argus_operator_tiers_invalid 0.0")


async def _forget(operator: Operator, namespace: str, id_: TenantId, topic: str) -> None:
    """A count that is lost is back within a round, and so is what the status says of it."""
    key, now = redis_keys.usage(id_), time.time_ns() // 1_000
    spent = Usage(quotas.day_of(now), 10_000, quotas.month_of(now), 10_000)
    async with Redis.from_url(operator.engines.redis_url) as redis:
        connection = await asyncpg.connect(operator.engines.database)
        await connection.execute("SELECT argus.open_partition($1, 0, 0)", topic)
        await connection.execute("SELECT argus.sample($1, '{0}', '{10000}', '{NULL}')", [topic])
        await connection.close()
        await redis.set(key, quotas.render(spent), ex=600)
        await operator.wait(TENANTS, namespace, "shop", "QuotaExceeded")

        await redis.delete(key)

        async def back() -> bool:
            return await redis.get(key) == quotas.render(spent)

        await eventually(back, 20)
        await operator.wait(TENANTS, namespace, "shop", "QuotaExceeded")


async def _metric(operator: Operator, line: str) -> bool:
    _, text = await operator.ops_answer("/metrics")
    return line in text
