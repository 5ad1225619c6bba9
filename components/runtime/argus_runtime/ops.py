"""The ops port: `/healthz`, `/readyz` and `/metrics`, apart from the product's own traffic.

Liveness answers from the same event loop that does the work, so a blocked loop fails its probe by
silence. It never depends on another system: restarting a pod mends no broker.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from argus_runtime.http import Server, serving
from argus_runtime.settings import OpsSettings

Check = Callable[[], str | None]
"""None when all is well, else the reason in words."""

Answer = tuple[int, str, bytes]
_TEXT = "text/plain; charset=utf-8"


class OpsApp:
    """The ASGI application behind the ops port."""

    def __init__(self, live: Check, ready: Check, registry: CollectorRegistry = REGISTRY) -> None:
        self._live = live
        self._ready = ready
        self._registry = registry

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answers one request."""
        status, content_type, body = self._answer(scope["path"])
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> Answer:
        match path:
            case "/healthz":
                return _judge(self._live)
            case "/readyz":
                return _judge(self._ready)
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return 404, _TEXT, b"try /healthz, /readyz or /metrics\n"


def _judge(check: Check) -> Answer:
    reason = check()
    return (200, _TEXT, b"ok\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())


@asynccontextmanager
async def serve(settings: OpsSettings, live: Check, ready: Check) -> AsyncIterator[Server]:
    """Serves the ops port while the block runs."""
    config = uvicorn.Config(
        OpsApp(live, ready),
        host=settings.host,
        port=settings.port,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    async with serving(config) as server:
        yield server
