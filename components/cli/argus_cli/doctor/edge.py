"""Asks ingest whether it answers, and whether it takes the key; stores nothing."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import httpx

from argus_cli.client import PATH, parse
from argus_cli.doctor.findings import Finding, unasked, unreached, well, wrong
from argus_cli.settings import Settings

SUBJECT: Final = "ingest"
KEY: Final = "API key"
_RUNNING: Final = "Is ingest running? `kubectl -n argus get pods` tells."


async def examine(settings: Settings, limit: float) -> AsyncIterator[Finding]:
    """Is the URL ARGUS's, and is the key known there?"""
    if not settings.url:
        yield unasked(SUBJECT, "ARGUS_URL is not set")
        return
    url = settings.require_url()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=limit) as http:
            answered = await http.options(PATH)
            if answered.status_code != HTTPStatus.NO_CONTENT:
                yield wrong(
                    SUBJECT,
                    f"{url} answers {answered.status_code} to OPTIONS {PATH}, as ARGUS would not",
                    "Does ARGUS_URL name ingest, and does a proxy in between pass requests on?",
                )
                return
            yield well(SUBJECT, f"{url} answers")
            yield await _key(http, settings)
    except httpx.TimeoutException as error:
        yield unreached(SUBJECT, url, TimeoutError(str(error)), _RUNNING)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        yield unreached(SUBJECT, url, error, _RUNNING)


async def _key(http: httpx.AsyncClient, settings: Settings) -> Finding:
    """An empty batch is authenticated like any other, and holds nothing to store: 422."""
    if settings.api_key is None:
        return unasked(KEY, "ARGUS_API_KEY is not set")
    headers = {"authorization": f"Bearer {settings.require_api_key()}"}
    response = await http.post(PATH, content=b"[]", headers=headers)
    answer = parse(response.status_code, response.headers, response.content)
    match answer.status:
        case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.TOO_MANY_REQUESTS:
            return well(KEY, "it is accepted")
        case HTTPStatus.UNAUTHORIZED:
            return wrong(
                KEY,
                "no tenant has it",
                "Was it rotated out, or its tenant deleted? The Secret <tenant>-argus-keys in the"
                " tenant's namespace has those that are valid.",
            )
        case HTTPStatus.FORBIDDEN:
            return wrong(
                KEY,
                f"it is refused: {answer.detail}",
                "`kubectl describe argustenant` says since when, and why.",
            )
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return wrong(
                SUBJECT,
                f"it takes no events just now: {answer.detail}",
                "See what is said of Kafka, of the registry and of the stream.",
            )
        case status:
            return wrong(
                SUBJECT,
                f"an empty batch is answered {status} {answer.detail}".strip(),
                "`kubectl -n argus logs deployment/argus-ingest` says more.",
            )
