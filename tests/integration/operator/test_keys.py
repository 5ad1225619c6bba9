"""Keys rotated and revoked by the operator's process, and a running ingest that is shown them."""

import asyncio
import base64
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.names import TenantId
from argus_contract.times import to_micros
from argus_operator import keys
from argus_operator.models import units
from argus_runtime.registry import RegistryTail

from tests.integration.ingest.conftest import Edge, open_broker, running_edge
from tests.integration.operator import process
from tests.integration.operator.apiserver import MERGE
from tests.integration.operator.process import Operator
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
CREATED, UNTIL = "created.argus.dev/default", "until.argus.dev/default.previous"
EVENT = b'{"event": "rotation"}'


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge(operator: Operator) -> AsyncIterator[Edge]:
    """An ingest process that follows the operator's registry."""
    async with following(operator, operator.registry_topic) as running:
        yield running


@asynccontextmanager
async def following(operator: Operator, topic: str) -> AsyncIterator[Edge]:
    """An ingest process that follows a registry."""
    async with open_broker(operator.engines.kafka) as opened:
        broker = dataclasses.replace(opened, registry_topic=topic)
        async with running_edge(broker) as edge:
            await edge.until_ready()
            yield edge


class Shop:
    """A tenant `shop` with a default pipeline, in a namespace of its own."""

    def __init__(self, operator: Operator, namespace: str, tenant: dict[str, Any]) -> None:
        self.operator = operator
        self.namespace = namespace
        self.id = TenantId(tenant["status"]["id"])
        self.path = f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"

    @classmethod
    async def open(cls, operator: Operator, **rotation: str) -> "Shop":
        """Once both are Ready."""
        namespace = await operator.namespace()
        await operator.create(TENANTS, namespace, "shop", {"rotation": rotation})
        pipeline = {
            "tenantRef": {"name": "shop"},
            "topic": {"retention": {"bytes": "64Mi"}},
            "deadLetter": {"retention": {"bytes": "16Mi"}},
        }
        await operator.create(PIPELINES, namespace, "web", pipeline)
        return cls(
            operator, namespace, await operator.wait(TENANTS, namespace, "shop", "Accepting")
        )

    async def ask(self, **annotations: str | None) -> None:
        """Annotates the tenant; names without the domain."""
        named = {f"argus.dev/{name}": value for name, value in annotations.items()}
        body = {"metadata": {"annotations": named}}
        await self.operator.patch(TENANTS, self.namespace, "shop", body)

    async def asked(self) -> dict[str, str]:
        """The tenant's annotations."""
        found = await self.operator.get(TENANTS, self.namespace, "shop")
        assert found is not None
        annotations: dict[str, str] = found["metadata"].get("annotations", {})
        return annotations

    async def secret(self) -> dict[str, str]:
        """What the Secret holds."""
        found = await self.operator.kubernetes.call("GET", self.path)
        return {name: base64.b64decode(value).decode() for name, value in found["data"].items()}

    async def notes(self) -> dict[str, str]:
        """The Secret's annotations."""
        found = await self.operator.kubernetes.call("GET", self.path)
        notes: dict[str, str] = found["metadata"].get("annotations", {})
        return notes

    async def write(
        self, data: dict[str, str] | None = None, notes: dict[str, str | None] | None = None
    ) -> None:
        """Edits the Secret by hand."""
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in (data or {}).items()}
        body = {"data": encoded, "metadata": {"annotations": notes or {}}}
        await self.operator.kubernetes.call("PATCH", self.path, body, MERGE)

    async def shown(self) -> dict[str, Any]:
        """The key in the status."""
        found = await self.operator.get(TENANTS, self.namespace, "shop")
        assert found is not None
        (key,) = found["status"]["keys"]
        shown: dict[str, Any] = key
        return shown

    async def rotated(self, old: str, seconds: float = 20) -> dict[str, Any]:
        """The key in the status, once it is another and the request is off."""

        async def another() -> bool:
            shown = await self.shown()
            return shown["id"] != id_of(old) and "argus.dev/rotate" not in await self.asked()

        await eventually(another, seconds)
        return await self.shown()

    async def events(self) -> list[str]:
        """Reasons of the events on the tenant."""
        return await self.operator.events(self.namespace, "shop")

    async def told(self, reason: str, seconds: float = 20) -> None:
        """Returns once there is an event of this reason."""

        async def there() -> bool:
            return reason in await self.events()

        await eventually(there, seconds)


def id_of(clear: str) -> str:
    return keys.key_id("default", hash_key(clear))


def known(pods: RegistryTail, shop: Shop) -> dict[str, int | None]:
    """What pods know of a tenant's keys: by hash, when each ends."""
    document = (pods.snapshot or {}).get(shop.id)
    return {} if document is None else {key.hash: key.until for key in document.keys}


async def status_of(edge: Edge, key: str) -> int:
    """What a request with this key is answered."""
    return (await edge.post(key, EVENT)).status_code


async def accepted(edge: Edge, key: str) -> None:
    """Returns once a key is known: the tenant's first document has reached the pod."""

    async def taken() -> bool:
        return await status_of(edge, key) == 202

    await eventually(taken, 10)


async def load(edge: Edge, key: str, until: float, every: float = 0.05) -> Counter[int]:
    """Requests with one key until that moment of the wall clock; how often each status came."""
    seen: Counter[int] = Counter()
    while time.time() < until:
        seen[await status_of(edge, key)] += 1
        await asyncio.sleep(every)
    return seen


async def refused_after(edge: Edge, key: str, seconds: float = 10) -> float:
    """Seconds until a key is answered 401."""
    began = time.monotonic()

    async def refused() -> bool:
        return await status_of(edge, key) == 401

    await eventually(refused, seconds, every=0.02)
    return time.monotonic() - began


async def test_a_rotation_under_load_meets_no_401(operator: Operator, edge: Edge) -> None:
    shop = await Shop.open(operator, gracePeriod="1m")
    old = (await shop.secret())["default"]
    await accepted(edge, old)
    rotating = asyncio.create_task(load(edge, old, time.time() + 5))
    await shop.ask(rotate="default")
    shown = await shop.rotated(old)
    new = (await shop.secret())["default"]
    ends = datetime.fromisoformat(shown["previous"]["validUntil"]).timestamp()
    assert 50 < ends - time.time() <= 60
    assert set(await rotating) == {202}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(load(edge, key, ends - 0.5)) for key in (old, new)]
    for task in tasks:
        assert set(task.result()) == {202}
        assert task.result().total() > 500

    await asyncio.sleep(max(0.0, ends - time.time()))
    assert await refused_after(edge, old) < 2
    assert await status_of(edge, new) == 202
    await shop.told("KeyRetired")
    assert await shop.secret() == {"default": new}

    async def shown_alone() -> bool:
        return "previous" not in await shop.shown()

    await eventually(shown_alone, 10)


async def test_a_revoked_key_is_refused_within_two_seconds(operator: Operator, edge: Edge) -> None:
    shop = await Shop.open(operator)
    leaked = (await shop.secret())["default"]
    await accepted(edge, leaked)
    await shop.ask(revoke="default")

    assert await refused_after(edge, leaked) < 2
    await shop.told("KeyRevoked")
    await eventually_free(shop)
    new = await shop.secret()
    assert new.keys() == {"default"}
    assert await status_of(edge, new["default"]) == 202


async def test_a_key_in_its_grace_is_revoked_too_and_though_the_tenant_is_paused(
    operator: Operator, edge: Edge
) -> None:
    shop = await Shop.open(operator)
    leaked = (await shop.secret())["default"]
    await accepted(edge, leaked)
    await shop.ask(rotate="default")
    await shop.rotated(leaked)
    before = await shop.secret()
    await shop.ask(paused="true", revoke=id_of(leaked))

    assert await refused_after(edge, leaked) < 2
    await eventually_free(shop)
    assert await shop.secret() == {"default": before["default"]}
    assert await status_of(edge, before["default"]) == 202


async def eventually_free(shop: Shop) -> None:
    """Returns once nothing is asked for any more."""

    async def free() -> bool:
        return not {"argus.dev/rotate", "argus.dev/revoke"} & (await shop.asked()).keys()

    await eventually(free, 20)


async def test_the_grace_ends_though_the_operator_is_away(
    operator: Operator, tmp_path: Path
) -> None:
    topic = operator.registry_topic + ".grace"
    async with process.running(
        operator.kubernetes, operator.engines, topic, tmp_path / "operator.log"
    ) as another:
        shop = await Shop.open(another)
        old = (await shop.secret())["default"]
        async with following(another, topic) as edge:
            await accepted(edge, old)
            await shop.ask(rotate="default")
            await shop.rotated(old)
            new = (await shop.secret())["default"]
            ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=20)
            await shop.write(notes={UNTIL: units.instant(ends)})
            tail = RegistryTail({"bootstrap_servers": another.engines.kafka}, topic)
            following_it = asyncio.create_task(tail.run())
            await eventually(lambda: known(tail, shop).get(hash_key(old)) == to_micros(ends), 15)
            another.process.terminate()
            await asyncio.to_thread(another.process.wait, 10)
            assert time.time() < ends.timestamp()
            assert await status_of(edge, old) == 202

            await asyncio.sleep(ends.timestamp() - time.time())
            assert await refused_after(edge, old) < 2
            assert await status_of(edge, new) == 202
            assert hash_key(old) in known(tail, shop)
            following_it.cancel()
            await asyncio.wait({following_it})


async def test_a_schedule_replaces_a_key_at_its_age(operator: Operator, pods: RegistryTail) -> None:
    shop = await Shop.open(operator, every="2d", gracePeriod="1d")
    old = (await shop.secret())["default"]
    born = datetime.now(UTC) - timedelta(days=2, minutes=1)
    await shop.write(notes={CREATED: units.instant(born)})
    shown = await shop.rotated(old)
    held = await shop.secret()

    assert held["default.previous"] == old
    assert shown["previous"]["created"] == units.instant(born)
    assert shown["rotatesAt"] > shown["previous"]["validUntil"]
    await eventually(lambda: set(known(pods, shop)) == {hash_key(key) for key in held.values()}, 10)
    assert (await shop.events()).count("KeysRotated") == 1


async def test_after_a_crash_between_secret_and_registry_nothing_is_repeated(
    operator: Operator, pods: RegistryTail
) -> None:
    """The world as such a crash leaves it: the request is bound, and the Secret is written."""
    shop = await Shop.open(operator)
    old, new = (await shop.secret())["default"], generate(KeyKind.SERVER)
    await shop.ask(paused="true", rotate=id_of(old))
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=24)
    await shop.write({"default": new, "default.previous": old}, {UNTIL: units.instant(ends)})
    assert set(known(pods, shop)) == {hash_key(old)}
    await shop.ask(paused=None)
    await eventually_free(shop)

    assert await shop.secret() == {"default": new, "default.previous": old}
    wanted = {hash_key(new): None, hash_key(old): to_micros(ends)}
    await eventually(lambda: known(pods, shop) == wanted, 10)


async def test_notes_that_were_deleted_by_hand_are_repaired(operator: Operator) -> None:
    shop = await Shop.open(operator)
    old = (await shop.secret())["default"]
    await shop.ask(rotate="default")
    await shop.rotated(old)
    notes, held = await shop.notes(), await shop.secret()
    assert len(notes) == 3
    await shop.write(notes=dict.fromkeys(notes))

    async def repaired() -> bool:
        return await shop.notes() == notes

    await eventually(repaired, 20)
    assert await shop.secret() == held


async def test_a_request_that_cannot_be_is_told_and_taken_off(operator: Operator) -> None:
    shop = await Shop.open(operator)
    old = (await shop.secret())["default"]
    await shop.ask(rotate="nobody")
    await shop.told("UnknownKey")
    await shop.ask(rotate="default")
    await shop.rotated(old)
    held = await shop.secret()
    await shop.ask(rotate="default")
    await shop.told("RotationRefused")
    await eventually_free(shop)

    assert await shop.secret() == held


@pytest.mark.parametrize(
    ("rotation", "advice"),
    [
        ({"gracePeriod": "31d"}, "at most 30d"),
        ({"every": "3651d"}, "at most 3650d"),
        ({"every": "24h"}, "must be longer than rotation.gracePeriod"),
        ({"every": "60m", "gracePeriod": "1h"}, "must be longer than rotation.gracePeriod"),
        ({"every": "1s"}, "should match"),
    ],
)
async def test_a_rotation_that_cannot_be_is_refused_with_advice(
    operator: Operator, rotation: dict[str, str], advice: str
) -> None:
    namespace = await operator.namespace()

    with pytest.raises(AssertionError, match=advice):
        await operator.create(TENANTS, namespace, "shop", {"rotation": rotation})
