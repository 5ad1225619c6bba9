"""What the client is told: 202 with what became of its events, or a problem document (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec
from argus_contract.items import Reject

from argus_ingest.buckets import UNIT, Verdict
from argus_ingest.errors import TYPE_PREFIX, Header, ProblemError
from argus_ingest.exchange import Exchange
from argus_ingest.tenants import ADDRESS_POLICY, KEY_POLICY, Access

_JSON: Final[Header] = (b"content-type", b"application/json")
_PROBLEM: Final[Header] = (b"content-type", b"application/problem+json")
_MAX_PREFLIGHT_AGE: Final = b"7200"
"""Seconds; browsers keep a preflight's answer no longer."""
_ALLOWED_HEADERS: Final = b"authorization, content-encoding, content-type, x-api-key"
_EXPOSED_HEADERS: Final = b"ratelimit, ratelimit-policy, retry-after"

_KEY: Final = KEY_POLICY.encode()
_ADDRESS: Final = ADDRESS_POLICY.encode()
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_encode: Final = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: list[Header]
    body: bytes


def rejected_members(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    """Rejects as the client sees them."""
    return [{"index": r.index, "code": r.code, "message": r.message} for r in rejects]


def accepted(events: int, rejects: Sequence[Reject], limits: Sequence[Header]) -> Answer:
    """202: Kafka has every event of the request."""
    if rejects:
        body = _encode({"accepted": events, "rejected": rejected_members(rejects)})
    else:
        body = b'{"accepted":%d,"rejected":[]}' % events
    return Answer(HTTPStatus.ACCEPTED, [_JSON, *limits], body)


def problem(error: ProblemError) -> Answer:
    """The problem document of a refusal."""
    document = {
        "type": TYPE_PREFIX + error.slug,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **error.members,
    }
    headers = [_PROBLEM, *error.headers]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    return Answer(error.status, headers, _encode(document))


def limit_headers(access: Access, verdict: Verdict) -> list[Header]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10).

    `r` is what is left of a bucket, and `t`, on a refusal, the seconds until the request passes. A
    bucket that was not asked is not named.
    """
    window = b";t=%d" % ceil(verdict.wait / UNIT) if verdict.wait else b""
    limits = b'"%b";r=%d%b' % (_KEY, verdict.key_left, window)
    if access.by_address and verdict.address_left is not None:
        limits += b', "%b";r=%d%b' % (_ADDRESS, verdict.address_left, window)
    return [access.policy, (b"ratelimit", limits)]


def cors(headers: Mapping[bytes, bytes]) -> list[Header]:
    """What lets a page of any origin read the answer; empty for clients that are no browser.

    The origin is mirrored because sendBeacon always sends credentials, which forbids `*`; ours are
    in headers or the URL, never in cookies, so no page gains anything it did not bring.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
        (b"vary", b"origin"),
    ]


def preflight() -> Answer:
    """The answer to OPTIONS; `cors` adds the origin."""
    allowed = [
        (b"allow", b"POST, OPTIONS"),
        (b"access-control-allow-methods", b"POST, OPTIONS"),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", _MAX_PREFLIGHT_AGE),
    ]
    return Answer(HTTPStatus.NO_CONTENT, allowed, b"")


def render(answer: Answer, exchange: Exchange) -> bytes:
    """Its bytes."""
    status, headers, body = answer
    lines = [_STATUS_LINES[status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if status != HTTPStatus.NO_CONTENT:
        lines.append(b"content-length: %d\r\n" % len(body))
    if not exchange.keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    if exchange.method != "HEAD":
        lines.append(body)
    return b"".join(lines)
