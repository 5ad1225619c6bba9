"""POST /v1/events: one request's way from its head to its answer.

    flood → authenticate → read → decode → limit → route → publish → answer

A raw ASGI application, because the framework's own route costs as much as all of this together.
What a framework would do besides (limits, errors, CORS, documentation) is therefore ours.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from argus_contract.judge import Item, NotJsonError, Reject, judge, judge_line, not_json

from argus_ingest import answer, metrics
from argus_ingest.address import UNKNOWN, AddressResolver
from argus_ingest.answer import Answer, Send
from argus_ingest.authenticate import Authenticator
from argus_ingest.buckets import ADDRESS, KEY, UNIT, Check, Verdict
from argus_ingest.budget import Budget
from argus_ingest.errors import (
    AboveBurstError,
    Header,
    InternalError,
    MalformedBodyError,
    MethodNotAllowedError,
    NothingAcceptedError,
    ProblemError,
    RateLimitedError,
    TooManyEventsError,
    UnknownKeyError,
)
from argus_ingest.flood import FloodGuard
from argus_ingest.limit import Limiter
from argus_ingest.pressure import Pressure
from argus_ingest.publish import Publisher
from argus_ingest.read import (
    NDJSON,
    BodyReader,
    ClientGoneError,
    Loan,
    Receive,
    UnreadableBodyError,
    discard,
    is_small,
)
from argus_ingest.route import Routing
from argus_ingest.split import split, split_lines
from argus_ingest.tenants import KEY_POLICY, Access

logger = logging.getLogger(__name__)

PATH: Final = "/v1/events"

_SLICE_ITEMS: Final = 250
_SLICE_BYTES: Final = 256 * 1024
"""After so much work the loop gets a turn: about a millisecond of it."""
_REFUSED_BY: Final = {ADDRESS: "ip", KEY: "key", ADDRESS | KEY: "both"}

Scope = MutableMapping[str, Any]


@dataclass(slots=True)
class Request:
    """One request, and what its way has found out so far."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    received: int
    """When its head came, in microseconds since the epoch: the events' time of receipt."""
    address: str = UNKNOWN
    tenant: str = metrics.NO_TENANT
    consumed: bool = False
    """Whether the body was read to its end, so that the connection can carry another request."""


def slices(items: int, size: int) -> Sequence[range]:
    """Indices in portions of about a millisecond's work; `size` is that of all items, in bytes."""
    if items <= _SLICE_ITEMS and size <= _SLICE_BYTES:
        return (range(items),)
    portion = max(1, min(_SLICE_ITEMS, items * _SLICE_BYTES // max(1, size)))
    return [range(start, min(start + portion, items)) for start in range(0, items, portion)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The objects that do the work of each step."""

    addresses: AddressResolver
    guard: FloodGuard
    authenticator: Authenticator
    reader: BodyReader
    budget: Budget
    limiter: Limiter
    pressure: Pressure
    publisher: Publisher
    max_events: int


class EventsEndpoint:
    """The way itself."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.draining = False
        """Set once the process is to end: each answer then ends its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; nothing but cancellation rises."""
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request = Request(scope, receive, headers, time.time_ns() // 1000)
        try:
            given = await self._serve(request)
        except ClientGoneError:
            metrics.GONE.inc()
            return
        except ProblemError as error:
            given = answer.problem(error)
        except Exception:  # one request's defect is no other's
            logger.exception("a request met a defect")
            given = answer.problem(InternalError("A defect of ARGUS; its log says more."))
        given.headers.extend(answer.cors(headers))
        if request.consumed or is_small(headers):
            await answer.send(given, send, close=self.draining)
        else:
            await answer.send(given, send, close=True, linger=discard(receive))
        metrics.requests(request.tenant, given.status).inc()
        metrics.LATENCY.observe(time.perf_counter() - started)

    async def _serve(self, request: Request) -> Answer:
        method = request.scope["method"]
        if method == "OPTIONS":
            request.consumed = True
            return answer.preflight()
        if method != "POST":
            raise MethodNotAllowedError(
                f"{PATH} takes POST.", headers=((b"allow", b"POST, OPTIONS"),)
            )
        access = self._admit(request)
        request.tenant = access.tenant.display
        with Loan(self._steps.budget) as loan:
            return await self._take(request, access, loan)

    def _admit(self, request: Request) -> Access:
        """flood → authenticate."""
        scope, guard = request.scope, self._steps.guard
        request.address = self._steps.addresses.resolve(scope["client"], scope["headers"])
        guard.admit(request.address, request.received)
        try:
            return self._steps.authenticator.authenticate(
                request.headers, scope["query_string"], request.received
            )
        except UnknownKeyError:
            guard.punish(request.address, request.received)
            raise

    async def _take(self, request: Request, access: Access, loan: Loan) -> Answer:
        """read → decode → limit → route → publish → answer."""
        body = b""
        try:
            media, body = await self._steps.reader.read(request.headers, request.receive, loan)
            request.consumed = True
            items = await self._decode(media, body)
        except UnreadableBodyError as error:
            request.consumed = True
            return await self._refuse(request, access, not_json(error.body, str(error)))
        except NotJsonError as error:
            return await self._refuse(request, access, not_json(body, str(error)))
        limits = await self._limit(request, access, max(1, len(items)))
        await self._publish(request, access, items, len(body))
        rejects = [item for item in items if isinstance(item, Reject)]
        if len(rejects) == len(items):
            raise _nothing_accepted(rejects)
        return answer.accepted(len(items) - len(rejects), rejects, limits)

    async def _decode(self, media: bytes, body: bytes) -> list[Item]:
        raws, judge_one = (
            (split_lines(body), judge_line) if media == NDJSON else (split(body), judge)
        )
        if len(raws) > self._steps.max_events:
            limit = self._steps.max_events
            raise TooManyEventsError(
                f"The body has {len(raws)} events; one request may carry {limit}.",
                members={"limit": limit},
            )
        items: list[Item] = []
        for portion in slices(len(raws), len(body)):
            if portion.start:
                await asyncio.sleep(0)
            items += [judge_one(raws[index], index) for index in portion]
        return items

    async def _limit(self, request: Request, access: Access, cost: int) -> list[Header]:
        """Spends `cost` tokens of the key's bucket; gives the RateLimit headers."""
        check = access.check(request.address, cost)
        if cost > check.key_limit.burst:
            raise AboveBurstError(
                f"The request has {cost} events, but the rate limit of this API key never admits "
                f"more than {check.key_limit.burst:g} at once. Send fewer events at once.",
                members={"limit": check.key_limit.burst, "bucket": KEY_POLICY},
            )
        verdict = await self._steps.limiter.check(check)
        headers = answer.limit_headers(access, verdict)
        if verdict.refused:
            raise _limited(check, verdict, headers, request.tenant)
        return headers

    async def _publish(
        self, request: Request, access: Access, items: Sequence[Item], size: int
    ) -> None:
        """route → publish; counts what Kafka then has."""
        if not items:
            return
        routing = Routing(access.tenant, request.received)
        for portion in slices(len(items), size):
            if portion.start:
                await asyncio.sleep(0)
            routing.add(items[portion.start : portion.stop])
        bundles = routing.bundles
        pressure = self._steps.pressure
        for bundle in bundles:
            if not pressure.is_free(bundle.pipeline):
                await pressure.admit(bundle.pipeline)
        await self._steps.publisher.publish(bundles)
        for bundle in bundles:
            events = len(bundle.records) - len(bundle.rejects)
            metrics.events_accepted(request.tenant, bundle.pipeline.name).inc(events)
            for code in bundle.rejects:
                metrics.REJECTED.labels(request.tenant, code).inc()

    async def _refuse(self, request: Request, access: Access, reject: Reject) -> Answer:
        """400, once the reject is in the log; a tenant without a default pipeline keeps none."""
        await self._limit(request, access, 1)
        if access.tenant.router.default is not None:
            await self._publish(request, access, [reject], len(reject.raw))
        raise MalformedBodyError(
            f"The body is not JSON: {reject.message}.",
            members={"rejected": answer.rejected_members([reject])},
        )


def _limited(
    check: Check, verdict: Verdict, headers: Sequence[Header], tenant: str
) -> RateLimitedError:
    bucket = _REFUSED_BY[verdict.refused]
    metrics.LIMITED.labels(tenant, bucket).inc()
    return RateLimitedError(
        f"Limited by {bucket}: an API key may send {check.key_limit.rate:g} events a second, a "
        f"client address {check.address_limit.rate:g} requests a second where it counts.",
        retry_after=verdict.wait / UNIT,
        headers=headers,
        members={"bucket": bucket},
    )


def _nothing_accepted(rejects: Sequence[Reject]) -> NothingAcceptedError:
    detail = (
        "Every event of the body was rejected; `rejected` says why."
        if rejects
        else "The body holds no event."
    )
    return NothingAcceptedError(
        detail, members={"accepted": 0, "rejected": answer.rejected_members(rejects)}
    )
