"""Steady load that remembers what was acknowledged, for tests that break something meanwhile."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from argus_cli.client import Client
from argus_cli.tally import Request, Tally
from argus_cli.traffic import NDJSON
from argus_contract.ids import new_id

from tests.e2e.tenants import Tenant, new_address, page_view

SENDERS = 12
EVENTS = 5
"""Events in one request."""
PAUSE_S = 0.08
"""Between two requests of one sender: about 600 events/s in all."""


class Counting(httpx.AsyncHTTPTransport):
    """Counts every attempt by its status, or by the name of what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends, and counts."""
        try:
            response = await super().handle_async_request(request)
        except httpx.TransportError as error:
            self.attempts[type(error).__name__] += 1
            raise
        self.attempts[str(response.status_code)] += 1
        return response


@dataclass(slots=True)
class Load:
    """Senders of one tenant; each event has its own id."""

    tenant: Tenant
    tally: Tally = field(default_factory=Tally)
    transport: Counting = field(default_factory=Counting)

    @property
    def server_errors(self) -> dict[str, int]:
        """Attempts that were answered 5xx, by status."""
        attempts = self.transport.attempts
        return {status: count for status, count in attempts.items() if status.startswith("5")}

    async def run(self, seconds: float) -> None:
        """Sends for this long; what is not acknowledged is sent again, ids unchanged."""
        end = time.monotonic() + seconds
        client = Client(self.tenant.url, self.tenant.key, transport=self.transport)
        async with client, asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send(client, end))

    async def _send(self, client: Client, end: float) -> None:
        while time.monotonic() < end:
            request = _request()
            self.tally.note(request, await client.send(request))
            await asyncio.sleep(PAUSE_S)


def _request() -> Request:
    ids = tuple(new_id(time.time_ns() // 1000) for _ in range(EVENTS))
    lines = [json.dumps(page_view(id=event_id)).encode() for event_id in ids]
    return Request(b"\n".join(lines), NDJSON, new_address(), ids)
