"""Every field that may change, changed: the data path hears of it, and the engines follow."""

from datetime import timedelta

import pytest
from argus_contract import names
from argus_contract.registry import Bucket
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

TWO = [{"name": "default"}, {"name": "site", "kind": "public"}]


class TestTenant:
    async def test_suspended_and_back(self, running: Stage) -> None:
        await running.tenant(suspended=True)
        await running.settle()
        assert (await running.document()).suspended
        assert await running.condition(TENANTS, SHOP) == ("False", "Suspended")

        await running.tenant()
        await running.settle()
        assert not (await running.document()).suspended
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")

    async def test_rate_limit(self, running: Stage) -> None:
        limits = {"perKey": {"rate": 7, "burst": 7_000}, "perIP": {"rate": 3, "burst": 9}}
        await running.tenant(rateLimit=limits)
        await running.settle()
        found = (await running.document()).limits

        assert (found.per_key, found.per_ip) == (Bucket(7, 7_000), Bucket(3, 9))

    async def test_tier(self, running: Stage) -> None:
        before = await running.document()
        await running.tenant(tier="gold")
        await running.settle()

        assert (await running.document()).limits == before.limits
        assert await running.condition(TENANTS, SHOP, "RegistryReady") == ("False", "UnknownTier")

    async def test_display_name_and_deletion_policy(self, running: Stage) -> None:
        before = await running.document()
        await running.tenant(displayName="The shop", deletionPolicy="Delete")
        await running.settle()

        assert await running.document() == before
        assert await running.condition(TENANTS, SHOP) == ("True", "Accepting")

    async def test_api_keys_come_and_go(self, running: Stage) -> None:
        await running.tenant(apiKeys=TWO)
        await running.settle()
        both, held = await running.document(), await running.secret()
        assert [(key.name, key.kind) for key in both.keys] == [
            ("default", "server"),
            ("site", "public"),
        ]
        assert held is not None
        assert set(held) == {"default", "site"}

        await running.tenant(apiKeys=TWO[1:])
        await running.settle()
        assert (await running.document()).keys == both.keys[1:]
        assert set(await running.secret() or ()) == {"site"}

    async def test_a_keys_expiry(self, running: Stage) -> None:
        keys = [{"name": "default", "expiresAt": "2100-01-01T00:00:00Z"}]
        await running.tenant(apiKeys=keys)
        await running.settle()

        assert (await running.document()).keys[0].expires == 4_102_444_800_000_000


class TestPipeline:
    async def test_partitions_and_retention_of_both_topics(self, running: Stage) -> None:
        await running.pipeline(
            topic={"partitions": 3, "retention": {"hours": 5, "bytes": "96Mi"}},
            deadLetter={"retention": {"hours": 9, "bytes": "32Mi"}},
        )
        await running.settle()
        topic, topics = await running.topic(), await running.topics()
        events, letters = topics[topic], topics[names.dead_letter_topic(topic)]
        told = (await running.document()).pipelines[0]

        assert (events.partitions, letters.partitions) == (3, 1)
        assert (events.retention_seconds, events.retention_bytes) == (5 * 3_600, 96 << 20)
        assert (letters.retention_seconds, letters.retention_bytes) == (9 * 3_600, 32 << 20)
        assert (told.partitions, told.retention_bytes) == (3, 96 << 20)
        assert (await running.tables(told.uid)).partitions == 3

    async def test_storage_and_dedupe_window(self, running: Stage) -> None:
        await running.pipeline(
            storage={"chunkInterval": "2h", "retention": "10d"}, dedupeWindow="3h"
        )
        await running.settle()
        told = (await running.document()).pipelines[0]
        tables = await running.tables(told.uid)

        assert (tables.chunk_interval, tables.retention) == (timedelta(hours=2), timedelta(days=10))
        assert tables.dedupe_window == timedelta(hours=3)
        assert (told.window, told.dedupe_window) == (10 * 86_400 - 7_200, 10_800)

    async def test_match(self, running: Stage) -> None:
        await running.pipeline("clicks", match=["click"])
        await running.settle()
        await running.pipeline("clicks", match=["click", "tap*"])
        await running.settle()

        found = {item.name: item.match for item in (await running.document()).pipelines}
        assert found == {WEB: (), "clicks": ("click", "tap*")}

    async def test_deletion_policy(self, running: Stage) -> None:
        before = await running.document()
        await running.pipeline(deletionPolicy="Delete")
        await running.settle()

        assert await running.document() == before
        assert await running.condition(PIPELINES, WEB, "Synced") == ("True", "Applied")
