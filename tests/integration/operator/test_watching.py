"""A watch that tells nothing: the operator finds it out, and its liveness probe fails."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.integration.operator import process
from tests.integration.operator.apiserver import ApiServer, free_port
from tests.integration.operator.process import Engines, Operator
from tests.integration.operator.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
GROUP_VERSION = "argus.dev/v1alpha1"
PATIENCE_S = 3.0
SETTINGS = {"ARGUS_RESYNC__INTERVAL": "1", "ARGUS_WATCH_STALLED_AFTER": str(PATIENCE_S)}


@dataclass
class Front:
    """An HTTP server before the API server, which can swallow watches and hide kinds."""

    api: ApiServer
    silent: bool = False
    hidden: set[str] = field(default_factory=set)
    scanned: bool = False
    """Whether kopf has asked which kinds there are."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on, and the answer back as it comes."""
        if "watch" in request.query and self.silent:
            return await self._say_nothing(request)
        if self.hidden & set(request.path.split("/")):
            return web.json_response({"message": "404 page not found"}, status=404)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in ("Authorization", "Content-Type", "Accept")
        }
        url = f"{self.api.url}{request.rel_url}"
        async with self.api.session.request(
            request.method, url, data=await request.read() or None, headers=headers, ssl=False
        ) as answer:
            if "watch" in request.query:
                return await self._stream(request, answer.content)
            return await self._whole(request, answer.status, await answer.json(content_type=None))

    async def _say_nothing(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await asyncio.sleep(3_600)
        return response

    async def _stream(self, request: web.Request, content: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # whoever watched has gone
            async for line in content:
                await response.write(line)
        return response

    async def _whole(self, request: web.Request, status: int, body: Any) -> web.Response:
        if body.get("groupVersion") == GROUP_VERSION:
            self.scanned = True
            served = [r for r in body["resources"] if r["name"].split("/")[0] not in self.hidden]
            body = body | {"resources": served}
        return web.json_response(body, status=status)


@asynccontextmanager
async def fronting(front: Front, directory: Path) -> AsyncIterator[ApiServer]:
    """The API server as it is seen through the front."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", front.handle)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        url = f"http://127.0.0.1:{port}"
        yield dataclasses.replace(front.api, url=url, directory=directory)
    finally:
        await runner.cleanup()


async def health(operator: Operator) -> tuple[int, str]:
    """What the liveness probe is answered."""
    return await operator.ops_answer("/healthz")


async def failing(operator: Operator) -> str:
    """What the liveness probe is told, once it fails."""

    async def fails() -> bool:
        return (await health(operator))[0] == 503

    await eventually(fails, 10 * PATIENCE_S)
    return (await health(operator))[1]


async def test_a_watch_that_says_nothing_fails_healthz(
    api: ApiServer, engines: Engines, registry_topic: str, tmp_path: Path
) -> None:
    front = Front(api)
    async with (
        fronting(front, tmp_path) as server,
        process.running(
            server, engines, f"{registry_topic}.silent", tmp_path / "log", SETTINGS
        ) as operator,
    ):
        await asyncio.sleep(1)  # the watches are open by then
        front.silent = True
        namespace = await operator.namespace()
        await operator.create(TENANTS, namespace, "heard", {})
        await operator.wait(TENANTS, namespace, "heard", "NoPipeline")
        await asyncio.sleep(2 * PATIENCE_S)
        assert (await health(operator))[0] == 200, "the watch that was there still tells"

    async with (
        fronting(front, tmp_path) as server,
        process.running(
            server, engines, f"{registry_topic}.silent", tmp_path / "log", SETTINGS
        ) as operator,
    ):
        assert (await health(operator))[0] == 200
        await operator.create(TENANTS, namespace, "unheard", {})
        await operator.wait(TENANTS, namespace, "unheard", "NoPipeline")  # by the next round

        assert f"the watch on {TENANTS} is behind" in await failing(operator)


async def test_a_kind_that_comes_after_the_operator_is_found_out(
    api: ApiServer, engines: Engines, registry_topic: str, tmp_path: Path
) -> None:
    front = Front(api, hidden={PIPELINES})
    async with fronting(front, tmp_path) as server:
        port = free_port()
        variables = process.environment(server, engines, f"{registry_topic}.late", port)
        child = process._start(variables | SETTINGS, tmp_path / "log")
        operator = Operator(
            server, engines, "", f"http://127.0.0.1:{port}", child, tmp_path / "log"
        )
        try:
            await eventually(lambda: front.scanned, 60)
            front.hidden.clear()
            namespace = await operator.namespace()
            spec = {"tenantRef": {"name": "nobody"}}
            await operator.create(PIPELINES, namespace, "web", spec)

            assert f"the watch on {PIPELINES} is behind" in await failing(operator)
        finally:
            child.terminate()
            await asyncio.to_thread(child.wait, 60)
