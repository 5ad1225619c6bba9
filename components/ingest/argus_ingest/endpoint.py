"""POST /v1/events: one request's way from its head to its answer.

    flood → authenticate → denials → concurrency → read → split → limit → judge → route → publish
    → answer

Below any framework, whose own route costs as much as all of this together (ADR 0010). What one
would do besides (limits, errors, CORS, documentation) is therefore ours.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from argus_contract.items import Item, Reject
from argus_contract.judge import NotJsonError, not_json

from argus_ingest import answer, decode, metrics
from argus_ingest.address import UNKNOWN, AddressResolver
from argus_ingest.answer import Answer
from argus_ingest.authenticate import Authenticator
from argus_ingest.buckets import Verdict
from argus_ingest.budget import Budget
from argus_ingest.denials import Denials
from argus_ingest.errors import (
    Header,
    InternalError,
    MalformedBodyError,
    MethodNotAllowedError,
    NothingAcceptedError,
    ProblemError,
    UnknownKeyError,
)
from argus_ingest.exchange import PATH, ClientGoneError, Exchange
from argus_ingest.flood import FloodGuard
from argus_ingest.limit import Limiter
from argus_ingest.pressure import Pressure
from argus_ingest.publish import Publisher
from argus_ingest.read import (
    BodyReader,
    Loan,
    UnreadableBodyError,
    discard,
    is_small,
)
from argus_ingest.route import Routing
from argus_ingest.tenants import Access, Tenant

logger = logging.getLogger(__name__)

CONCURRENCY: Final = "concurrency"
"""Beside what a verdict can be refused by."""
_STATUS: Final = {status.value: str(status.value) for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request, and what its way has found out so far."""

    exchange: Exchange
    received: int
    """When its head came, in microseconds since the epoch: the events' time of receipt."""
    began: int
    """The same by a steady clock, in microseconds."""
    asked: int = 0
    """When its buckets were asked, by that clock."""
    address: str = UNKNOWN
    tenant: str = metrics.NO_TENANT
    consumed: bool = False
    """Whether the body was read to its end, so that the connection can carry another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The objects that do the work of each step."""

    addresses: AddressResolver
    guard: FloodGuard
    authenticator: Authenticator
    reader: BodyReader
    denials: Denials
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

    async def __call__(self, exchange: Exchange) -> None:
        """Answers one request; nothing but cancellation rises."""
        request = Request(exchange, time.time_ns() // 1000, time.monotonic_ns() // 1000)
        try:
            given = await self._serve(request)
        except ClientGoneError:
            metrics.GONE.inc()
            return
        except ProblemError as error:
            given = answer.problem(error)
            if given.status == HTTPStatus.SERVICE_UNAVAILABLE:
                metrics.UNAVAILABLE.labels(request.tenant, error.slug).inc()
        except Exception:  # one request's defect is no other's
            logger.exception("a request met a defect")
            given = answer.problem(InternalError("A defect of ARGUS; its log says more."))
        given.headers.extend(answer.cors(exchange.headers))
        is_read = request.consumed or is_small(exchange.headers)
        if self.draining or not is_read:
            exchange.keep_alive = False
        try:
            if exchange.write(answer.render(given, exchange)):
                await exchange.drained()
            if not is_read:
                await discard(exchange)
        finally:
            exchange.finish()
        metrics.REQUESTS.add((request.tenant, _STATUS[given.status]))
        metrics.LATENCY.add(time.monotonic_ns() / 1e9 - request.began / 1e6)

    async def _serve(self, request: Request) -> Answer:
        method = request.exchange.method
        if method == "OPTIONS":
            request.consumed = True
            return answer.preflight()
        if method != "POST":
            raise MethodNotAllowedError(
                f"{PATH} takes POST.", headers=((b"allow", b"POST, OPTIONS"),)
            )
        access = self._admit(request)
        tenant = access.tenant
        request.tenant = tenant.display
        if not tenant.observe:
            denied = self._steps.denials.find(access, request.address, request.began)
            if denied is not None:
                metrics.LIMITED_EARLY.labels(request.tenant).inc()
                raise _limited(request, access, denied)
        if tenant.account.requests >= tenant.concurrency:
            _crowd(tenant)
        with Loan(self._steps.budget, tenant.account) as loan:
            return await self._take(request, access, loan)

    def _admit(self, request: Request) -> Access:
        """flood → authenticate."""
        exchange, guard = request.exchange, self._steps.guard
        request.address = self._steps.addresses.resolve(exchange.client, exchange.fields)
        guard.admit(request.address, request.began)
        try:
            return self._steps.authenticator.authenticate(
                exchange.headers, exchange.query, request.received
            )
        except UnknownKeyError:
            guard.punish(request.address, request.began)
            raise

    async def _take(self, request: Request, access: Access, loan: Loan) -> Answer:
        """read → split → limit → judge → route → publish → answer."""
        body, limits = b"", None
        try:
            reader, exchange = self._steps.reader, request.exchange
            read = reader.take(exchange, loan) or await reader.read(exchange, loan)
            media, body = read
            request.consumed = True
            raws = decode.separate(media, body, self._steps.max_events)
            verdict = await self._ask(request, access, max(1, len(raws)))
            limits = self._heed(request, access, verdict)
            if decode.is_short(len(raws), len(body)):
                items = decode.judge_each(raws, media)
            else:
                items = await decode.judge_all(raws, media, len(body))
        except UnreadableBodyError as unreadable:
            request.consumed = True
            reject = not_json(unreadable.body, str(unreadable))
        except NotJsonError as fault:
            reject = not_json(body, str(fault))
        else:
            await self._publish(request, access, items, len(body))
            return _answer(items, limits)
        if limits is None:
            self._heed(request, access, await self._ask(request, access, 1))
        return await self._refuse(request, access, reject)

    def _ask(self, request: Request, access: Access, cost: int) -> "asyncio.Future[Verdict]":
        """Asks for `cost` tokens of the key's bucket; raises AboveBurstError."""
        check = access.check(request.address, cost)
        if cost > check.key_limit.burst and not access.tenant.observe:
            raise answer.above_burst(cost, check.key_limit.burst)
        request.asked = time.monotonic_ns() // 1000
        return self._steps.limiter.check(check)

    def _heed(self, request: Request, access: Access, verdict: Verdict) -> list[Header]:
        """The RateLimit headers; raises RateLimitedError and QuotaExceededError."""
        access.use.last = request.received
        if verdict.refused:
            if not access.tenant.observe:
                self._steps.denials.note(access, request.address, verdict, request.asked)
                raise _limited(request, access, verdict)
            metrics.WOULD_LIMIT.labels(request.tenant, answer.refused_by(verdict)).inc()
            verdict = verdict._replace(wait=0)
        return answer.limit_headers(access, verdict)

    async def _publish(
        self, request: Request, access: Access, items: Sequence[Item], size: int
    ) -> None:
        """route → publish; counts what Kafka then has."""
        if not items:
            return
        routing = Routing(access.tenant, request.received)
        for portion in decode.slices(len(items), size):
            if portion.start:
                await asyncio.sleep(0)
            routing.add(items[portion.start : portion.stop])
        bundles = routing.bundles
        pressure, offered = self._steps.pressure, []
        try:
            for bundle in bundles:
                where, taken = bundle.pipeline, bundle.size
                watch = pressure.free(where, taken) or await pressure.admit(where, taken)
                watch.offered += taken
                offered.append((watch, taken))
            await self._steps.publisher.publish(bundles, access.tenant.account)
        finally:
            for watch, size in offered:
                watch.settled += size
        for bundle in bundles:
            events = len(bundle.records) - len(bundle.rejects)
            metrics.ACCEPTED.add((request.tenant, bundle.pipeline.name), events)
            for code in bundle.rejects:
                metrics.REJECTED.labels(request.tenant, code).inc()

    async def _refuse(self, request: Request, access: Access, reject: Reject) -> Answer:
        """400, once the reject is in the log; a tenant without a default pipeline keeps none."""
        if access.tenant.router.default is not None:
            await self._publish(request, access, [reject], len(reject.raw))
        raise MalformedBodyError(
            f"The body is not JSON: {reject.message}.",
            members={"rejected": answer.rejected_members([reject])},
        )


def _answer(items: Sequence[Item], limits: Sequence[Header]) -> Answer:
    rejects = [item for item in items if isinstance(item, Reject)]
    if len(rejects) == len(items):
        raise _nothing_accepted(rejects)
    return answer.accepted(len(items) - len(rejects), rejects, limits)


def _limited(request: Request, access: Access, verdict: Verdict) -> ProblemError:
    metrics.LIMITED.labels(request.tenant, answer.refused_by(verdict)).inc()
    return answer.limited(access, verdict, request.received)


def _crowd(tenant: Tenant) -> None:
    """Counts one request too many; raises ConcurrencyExceededError unless limits are observed."""
    if tenant.observe:
        metrics.WOULD_LIMIT.labels(tenant.display, CONCURRENCY).inc()
        return
    metrics.LIMITED.labels(tenant.display, CONCURRENCY).inc()
    raise answer.crowded(tenant)


def _nothing_accepted(rejects: Sequence[Reject]) -> NothingAcceptedError:
    detail = (
        "Every event of the body was rejected; `rejected` says why."
        if rejects
        else "The body holds no event."
    )
    return NothingAcceptedError(
        detail, members={"accepted": 0, "rejected": answer.rejected_members(rejects)}
    )
