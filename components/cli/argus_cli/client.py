"""Sends requests to ingest and reads its answers, with the patience that its docs ask of clients.

Events carry their ids before the first attempt, so an attempt that is made again stores nothing
twice.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Self

import httpx

from argus_cli.tally import Answer, Rejection, Request

PATH: Final = "/v1/events"
_ATTEMPTS: Final = 6
_TIMEOUT_S: Final = 15.0
_LONGEST_WAIT_S: Final = 10.0
_CONNECTIONS: Final = 32


class Client:
    """An HTTP client of one installation and one API key; an async context manager."""

    def __init__(
        self, url: str, api_key: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=_TIMEOUT_S,
            transport=transport,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self._http.__aexit__(*reason)

    async def send(self, request: Request) -> Answer:
        """The answer of the first attempt that is not refused for now, else of the last one."""
        for attempt in range(1, _ATTEMPTS + 1):
            answer = replace(await self._attempt(request), attempts=attempt)
            if not answer.passing or attempt == _ATTEMPTS:
                break
            await asyncio.sleep(min(answer.retry_after or 0.25 * 2**attempt, _LONGEST_WAIT_S))
        return answer

    async def _attempt(self, request: Request) -> Answer:
        headers = {"content-type": request.content_type}
        if request.address:
            headers["x-forwarded-for"] = request.address
        try:
            response = await self._http.post(PATH, content=request.body, headers=headers)
        except httpx.TransportError as error:
            return Answer(status=0, detail=f"{type(error).__name__}: {error}")
        return parse(response.status_code, response.headers, response.content)


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The answer in a response of `POST /v1/events`, also one that is no JSON (a proxy's)."""
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        document = {"detail": body[:200].decode("utf-8", "replace")}
    rejected = tuple(
        Rejection(item["index"], item["code"], item["message"])
        for item in document.get("rejected", ())
    )
    wait = headers.get("retry-after", "")
    return Answer(
        status=status,
        accepted=document.get("accepted", 0),
        rejected=rejected,
        detail=document.get("detail") or document.get("title") or "",
        retry_after=float(wait) if wait.isdecimal() else None,
    )
