"""The running operator and an edge, tiers that change under them, and a Redis that forgets."""

import asyncio
import base64
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from argus_contract import redis_keys
from argus_contract.names import TenantId
from argus_runtime.registry import RegistryTail
from redis.asyncio import Redis

from tests.integration.ingest.conftest import Edge, open_broker, running_edge
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
QUOTA = 10
FREE = {"quota": {"daily": QUOTA}}
EVENT = b'{"event": "quota"}'


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
        await _use_up(operator, namespace, id_, made["status"]["topic"])

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
        await eventually(lambda: daily() == QUOTA, 20)
        assert await _metric(operator, "argus_operator_tiers_invalid 0.0")


async def _use_up(operator: Operator, namespace: str, id_: TenantId, topic: str) -> None:
    """What is refused once a quota is used up stays so though Redis forgets what was counted."""
    path = f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"
    held = await operator.kubernetes.call("GET", path)
    key = base64.b64decode(held["data"]["default"]).decode()
    async with edge_of(operator) as edge, Redis.from_url(operator.engines.redis_url) as redis:
        answers = [(await edge.post(key, EVENT)).status_code for _ in range(QUOTA + 1)]
        assert answers == [202] * QUOTA + [429]
        await _stream_reports(operator, topic)
        exceeded = await operator.wait(TENANTS, namespace, "shop", "QuotaExceeded")
        assert exceeded["status"]["quota"]["daily"]["usedPercent"] == 100

        await redis.delete(redis_keys.usage(id_))

        async def refused() -> bool:
            return (await edge.post(key, EVENT)).status_code == 429

        await eventually(refused, 20, every=0.5)
        await operator.wait(TENANTS, namespace, "shop", "QuotaExceeded")

    async def dated() -> bool:
        found = await operator.get(TENANTS, namespace, "shop")
        return found is not None and "lastUsed" in found["status"]["keys"][0]

    await eventually(dated, 20)


@asynccontextmanager
async def edge_of(operator: Operator) -> AsyncIterator[Edge]:
    """An ingest process that follows the operator's registry, and soon tells of keys."""
    async with open_broker(operator.engines.kafka) as opened:
        broker = dataclasses.replace(opened, registry_topic=operator.registry_topic)
        async with running_edge(broker, LIMITS__USES_INTERVAL="1") as edge:
            await edge.until_ready()
            yield edge


async def _stream_reports(operator: Operator, topic: str) -> None:
    """As the stream does: where the log ends."""
    connection = await asyncpg.connect(operator.engines.database)
    await connection.execute("SELECT argus.open_partition($1, 0, 0)", topic)
    await connection.execute("SELECT argus.sample($1, '{0}', $2, '{NULL}')", [topic], [QUOTA])
    await connection.close()


async def _metric(operator: Operator, line: str) -> bool:
    _, text = await operator.ops_answer("/metrics")
    return line in text
