"""Two operators by accident: one leads and the other follows it; both at once do no harm."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argus_contract.keys import hash_key
from argus_contract.names import TenantId, key_secret
from argus_runtime.registry import RegistryTail

from tests.integration.operator import process
from tests.integration.operator.apiserver import RELEASE, ApiServer
from tests.integration.operator.process import Engines, Operator
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
SIZES = {
    "topic": {"retention": {"bytes": "32Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}
DURATION_S = 6
REST_S = 7.0
"""Two rounds of an operator under test."""
QUICK = {"ARGUS_LEASE__DURATION": str(DURATION_S), "ARGUS_LEASE__RENEW": "2"}


@asynccontextmanager
async def begun(
    api: ApiServer, engines: Engines, topic: str, log: Path, settings: Mapping[str, str]
) -> AsyncIterator[Operator]:
    """An operator that answers its ops port; killed at the end if it is still there."""
    operator = process.begin(api, engines, topic, log, settings)

    async def answers() -> bool:
        try:
            await operator.ops_answer("/healthz")
        except aiohttp.ClientError:
            return False
        return True

    try:
        await eventually(answers, 60)
        yield operator
    finally:
        operator.process.kill()
        await asyncio.to_thread(operator.process.wait, 10)


async def leads(operator: Operator) -> bool:
    """Whether it is ready, which only a leader is."""
    return (await operator.ops_answer("/readyz"))[0] == 200


async def waits(operator: Operator) -> None:
    """That it is well and does nothing, since the lease is another's."""
    status, reason = await operator.ops_answer("/readyz")
    assert (status, "lease" in reason) == (503, True), reason
    assert (await operator.ops_answer("/healthz"))[0] == 200
    assert "leading" not in operator.log.read_text()


async def ended(operator: Operator, code: int) -> None:
    """That it ends by itself, with this code."""
    assert await asyncio.to_thread(operator.process.wait, 20) == code


async def held(operator: Operator, namespace: str, name: str) -> tuple[str, str]:
    """Versions of a tenant and its Secret."""
    secret = f"api/v1/namespaces/{namespace}/secrets/{key_secret(name)}"
    found = await operator.get(TENANTS, namespace, name)
    assert found is not None
    kept = await operator.kubernetes.call("GET", secret)
    return found["metadata"]["resourceVersion"], kept["metadata"]["resourceVersion"]


async def at_rest(operator: Operator, namespace: str, name: str) -> tuple[str, str]:
    """The same once nothing is written of it any more."""
    found = await held(operator, namespace, name)
    while True:
        await asyncio.sleep(REST_S)
        now = await held(operator, namespace, name)
        if now == found:
            return now
        found = now


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
async def test_the_second_waits_until_the_first_is_gone(
    api: ApiServer,
    engines: Engines,
    registry_topic: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    topic = f"{registry_topic}.{number.name.lower()}"
    async with (
        begun(api, engines, topic, tmp_path / "first.log", {}) as first,
        begun(api, engines, topic, tmp_path / "second.log", {}) as second,
    ):
        await eventually(lambda: leads(first), 60)
        namespace = await first.namespace()
        await first.create(TENANTS, namespace, "early", {})
        await first.wait(TENANTS, namespace, "early", "NoPipeline")
        await waits(second)
        began = asyncio.get_running_loop().time()
        first.process.send_signal(number)
        await eventually(lambda: leads(second), 40)
        took = asyncio.get_running_loop().time() - began

        await second.create(TENANTS, namespace, "later", {})
        await second.wait(TENANTS, namespace, "later", "NoPipeline")
        assert number is signal.SIGTERM or took > 9, "nobody was silent for long enough"
        assert took < (12 if number is signal.SIGTERM else 30)


async def test_a_leader_that_was_frozen_ends_and_writes_nothing(
    api: ApiServer, engines: Engines, registry_topic: str, tmp_path: Path
) -> None:
    topic = f"{registry_topic}.frozen"
    async with begun(api, engines, topic, tmp_path / "first.log", QUICK) as first:
        await eventually(lambda: leads(first), 60)
        namespace = await first.namespace()
        await first.create(TENANTS, namespace, "shop", {})
        await first.wait(TENANTS, namespace, "shop", "NoPipeline")
        os.kill(first.process.pid, signal.SIGSTOP)
        said = first.log.read_text()
        async with begun(api, engines, topic, tmp_path / "second.log", QUICK) as second:
            await eventually(lambda: leads(second), 10 * DURATION_S)
            await second.patch(TENANTS, namespace, "shop", {"spec": {"suspended": True}})
            await second.wait(TENANTS, namespace, "shop", "Suspended")
            before = await at_rest(second, namespace, "shop")
            os.kill(first.process.pid, signal.SIGCONT)
            await ended(first, 1)
            news = first.log.read_text().removeprefix(said)

            assert await held(second, namespace, "shop") == before
            assert "registry record" not in news
            assert "LeaseLostError" in news
            assert await leads(second)


async def test_an_operator_that_cannot_renew_goes_on_once_it_can(
    api: ApiServer, engines: Engines, registry_topic: str, tmp_path: Path
) -> None:
    topic = f"{registry_topic}.deleted"
    async with begun(api, engines, topic, tmp_path / "log", QUICK) as operator:
        await eventually(lambda: leads(operator), 60)
        leases = f"apis/coordination.k8s.io/v1/namespaces/{RELEASE}/leases"
        name = process.lease_name(topic)
        await api.call("DELETE", f"{leases}/{name}")

        async def made_again() -> bool:
            return await api.found(f"{leases}/{name}") is not None

        await eventually(made_again, 3 * DURATION_S)
        assert await leads(operator)
        assert operator.process.poll() is None


async def test_two_that_both_lead_come_to_one_end(
    api: ApiServer, engines: Engines, registry_topic: str, tmp_path: Path
) -> None:
    topic = f"{registry_topic}.both"
    tail = RegistryTail({"bootstrap_servers": engines.kafka}, topic)
    following = asyncio.create_task(tail.run())
    own = [{"ARGUS_LEASE__NAME": f"{process.lease_name(topic)}-{number}"} for number in (1, 2)]
    names = [f"shop-{number}" for number in range(5)]
    async with (
        begun(api, engines, topic, tmp_path / "first.log", own[0]) as first,
        begun(api, engines, topic, tmp_path / "second.log", own[1]) as second,
    ):
        await eventually(lambda: leads(first), 60)
        await eventually(lambda: leads(second), 60)
        namespace = await first.namespace()
        for name in names:
            await first.create(TENANTS, namespace, name, {"deletionPolicy": "Delete"})
            spec = {"tenantRef": {"name": name}, "deletionPolicy": "Delete"} | SIZES
            await first.create(PIPELINES, namespace, name, spec)
        for name in names:
            await first.wait(TENANTS, namespace, name, "Accepting")
        keys = [await key(api, namespace, name) for name in names]
        await asyncio.sleep(7)  # two rounds of both
        before = [await held(first, namespace, name) for name in names]
        await asyncio.sleep(7)

        assert [await held(first, namespace, name) for name in names] == before
        assert [await key(api, namespace, name) for name in names] == keys
        for name, secret in zip(names, keys, strict=True):
            found = await first.get(TENANTS, namespace, name)
            assert found is not None
            assert tail.snapshot is not None
            document = tail.snapshot[TenantId(found["status"]["id"])]
            assert [item.hash for item in document.keys] == [hash_key(secret)]
            assert [item.name for item in document.pipelines] == [name]
            assert "KeyRegenerated" not in await first.events(namespace, name)
        for name in names:
            await first.delete(PIPELINES, namespace, name)
            await first.delete(TENANTS, namespace, name)
        for name in names:
            await first.gone(PIPELINES, namespace, name)
            await first.gone(TENANTS, namespace, name)
    following.cancel()
    await asyncio.wait({following})


async def key(api: ApiServer, namespace: str, name: str) -> str:
    """The one key of a tenant."""
    path = f"api/v1/namespaces/{namespace}/secrets/{key_secret(name)}"
    data: dict[str, Any] = (await api.call("GET", path))["data"]
    (value,) = data.values()
    return base64.b64decode(value).decode()
