"""What the client is told: 202 with what became of its events, or a problem document (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec
from argus_contract import quotas
from argus_contract.items import Reject
from argus_contract.times import from_micros

from argus_ingest.buckets import ADDRESS, DAY, KEY, MONTH, UNIT, Verdict
from argus_ingest.errors import (
    TYPE_PREFIX,
    AboveBurstError,
    ConcurrencyExceededError,
    Header,
    ProblemError,
    QuotaExceededError,
    RateLimitedError,
)
from argus_ingest.exchange import Exchange
from argus_ingest.tenants import (
    ADDRESS_POLICY,
    DAY_POLICY,
    KEY_POLICY,
    MONTH_POLICY,
    Access,
    Tenant,
)

_JSON: Final[Header] = (b"content-type", b"application/json")
_PROBLEM: Final[Header] = (b"content-type", b"application/problem+json")
_MAX_PREFLIGHT_AGE: Final = b"7200"
"""Seconds; browsers keep a preflight's answer no longer."""
_ALLOWED_HEADERS: Final = b"authorization, content-encoding, content-type, x-api-key"
_EXPOSED_HEADERS: Final = b"ratelimit, ratelimit-policy, retry-after"

_REFUSED_BY: Final = {
    ADDRESS: ADDRESS_POLICY,
    KEY: KEY_POLICY,
    ADDRESS | KEY: "both",
    DAY: DAY_POLICY,
    MONTH: MONTH_POLICY,
    DAY | MONTH: MONTH_POLICY,
}
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

    `r` is what is left of a bucket or quota, and `t`, on a refusal, the seconds until the request
    passes. A bucket that was not asked is not named, and a quota only where it refuses.
    """
    window = b";t=%d" % ceil(verdict.wait / UNIT) if verdict.wait else b""
    if verdict.refused >= DAY:
        quota = b'"%b";r=%d%b' % (refused_by(verdict).encode(), verdict.key_left, window)
        return [access.policy, (b"ratelimit", quota)]
    limits = b'"%b";r=%d%b' % (_KEY, verdict.key_left, window)
    if access.by_address and verdict.address_left is not None:
        limits += b', "%b";r=%d%b' % (_ADDRESS, verdict.address_left, window)
    return [access.policy, (b"ratelimit", limits)]


def refused_by(verdict: Verdict) -> str:
    """What refused: `ip`, `key` or `both` of the buckets, or the quota of the `day` or `month`."""
    return _REFUSED_BY[verdict.refused]


def limited(access: Access, verdict: Verdict, now: int) -> ProblemError:
    """The 429 of a verdict that refuses; `now` in microseconds since the epoch."""
    if verdict.refused >= DAY:
        return _quota_exceeded(access, verdict, now)
    bucket, limits = refused_by(verdict), access.tenant.document.limits
    return RateLimitedError(
        f"Limited by {bucket}: an API key may send {limits.per_key.rate:g} events a second, a "
        f"client address {limits.per_ip.rate:g} requests a second where it counts.",
        retry_after=verdict.wait / UNIT,
        headers=limit_headers(access, verdict),
        members={"bucket": bucket},
    )


def _quota_exceeded(access: Access, verdict: Verdict, now: int) -> QuotaExceededError:
    quota, limits = refused_by(verdict), access.tenant.document.limits
    limit = limits.daily if quota == DAY_POLICY else limits.monthly
    # Days and months end at midnight, whatever the two clocks and the way here add to the wait.
    resets_at = from_micros(round((now + verdict.wait) / quotas.DAY) * quotas.DAY)
    return QuotaExceededError(
        f"Of the {limit} events that the tenant may send in a {quota}, {verdict.key_left} are left "
        f"until {resets_at:%Y-%m-%d} 00:00 UTC.",
        retry_after=verdict.wait / UNIT,
        headers=limit_headers(access, verdict),
        members={"quota": quota, "limit": limit, "resetsAt": f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"},
    )


def above_burst(cost: int, burst: float) -> AboveBurstError:
    """The 413 of a request that costs more tokens than its key's bucket ever holds."""
    return AboveBurstError(
        f"The request has {cost} events, but the rate limit of this API key never admits more than "
        f"{burst:g} at once. Send fewer events at once.",
        members={"limit": burst, "bucket": KEY_POLICY},
    )


def crowded(tenant: Tenant) -> ConcurrencyExceededError:
    """The 429 of a tenant that has as many requests in work as it may have."""
    limit = tenant.document.limits.concurrency
    return ConcurrencyExceededError(
        f"The tenant may have {limit} requests in work at one time, {tenant.concurrency} of them "
        "in this process. Send what waits together, or one after another.",
        retry_after=1.0,
        members={"limit": limit},
    )


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
