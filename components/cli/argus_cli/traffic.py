"""Believable traffic for the demonstration: a shop, its servers, and a few mistakes.

Visitors walk from page to page, each behind an address of its own (RFC 5737's documentation
ranges); gateways report API latencies, hosts their health, both in batches; now and then a client
sends what ARGUS must refuse, and one batch is sent twice. The same seed gives the same walk.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from argus_contract.ids import new_id
from argus_contract.times import rfc3339

from argus_cli.tally import Request

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")
_ADDRESSES: Final = tuple(f"{net}.{host}" for net in _NETWORKS for host in range(1, 255))
_PAGES: Final = ("/", "/products", "/products/lamp", "/products/desk", "/cart", "/checkout")
_ELEMENTS: Final = ("nav-products", "add-to-cart", "checkout", "newsletter", "filter-price")
_ROUTES: Final = (("GET", "/api/products"), ("GET", "/api/cart"), ("POST", "/api/orders"))
_METRICS: Final = (("cpu", "percent"), ("memory", "MiB"), ("queue_depth", "items"))
_GATEWAYS: Final = ("gateway-1", "gateway-2", "gateway-3")
_HOSTS: Final = ("web-1", "web-2", "worker-1")

_BATCHED_SHARE: Final = 0.6
"""Share of events that servers send in batches; the rest is visitors', one to three a request."""

Event = dict[str, Any]


@dataclass(slots=True)
class Visitor:
    """Somebody in the shop; `address` is where their requests come from."""

    name: str
    session: str
    address: str
    page: str = "/"


class Traffic:
    """An endless supply of requests, a second's worth at a time.

    `run` marks every event (property `demo`), legible or not, so that this run's rows and letters
    can be told from all others. `rate` is in events per second.
    """

    def __init__(self, run: str, rate: int, seed: int, clock: Callable[[], int]) -> None:
        """`clock` gives microseconds since the epoch."""
        self._run = run
        self._rate = rate
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311  # a walk, not a secret
        self._visitors = [self._visitor(number) for number in range(240)]
        self._mistakes = itertools.cycle(
            (self._not_json, self._without_url, self._unknown_field, self._naive_time)
        )

    def second(self, *, with_mistake: bool) -> Iterator[Request]:
        """About `rate` events in requests of many clients, in a mixed order."""
        batched = round(self._rate * _BATCHED_SHARE)
        requests = [
            self._latencies(batched * 2 // 3),
            self._health(batched - batched * 2 // 3),
            *self._visits(self._rate - batched),
        ]
        if with_mistake:
            requests.append(next(self._mistakes)())
        self._random.shuffle(requests)
        yield from requests

    def _visitor(self, number: int) -> Visitor:
        address = _ADDRESSES[number * 3 % len(_ADDRESSES)]
        return Visitor(f"visitor-{number}", f"session-{self._run}-{number}", address)

    def _event(self, name: str, properties: Event, **fields: Any) -> Event:
        now = self._clock()
        return {
            "id": new_id(now),
            "event": name,
            "timestamp": rfc3339(now),
            **fields,
            "properties": {**properties, "demo": self._run},
        }

    def _visits(self, events: int) -> Iterator[Request]:
        while events > 0:
            visitor = self._random.choice(self._visitors)
            steps = [self._step(visitor) for _ in range(min(events, self._random.randint(1, 3)))]
            events -= len(steps)
            yield _request(steps[0] if len(steps) == 1 else steps, steps, visitor.address)

    def _step(self, visitor: Visitor) -> Event:
        who = {"distinct_id": visitor.name, "session_id": visitor.session}
        if self._random.random() < 0.3:
            element = self._random.choice(_ELEMENTS)
            return self._event("click", {"element": element, "page": visitor.page}, **who)
        previous, visitor.page = visitor.page, self._random.choice(_PAGES)
        url = f"https://shop.example{visitor.page}"
        return self._event("page_view", {"url": url, "referrer": previous}, **who)

    def _latencies(self, count: int) -> Request:
        events = []
        for number in range(count):
            gateway = _GATEWAYS[number % len(_GATEWAYS)]
            method, route = self._random.choice(_ROUTES)
            status = self._random.choices((200, 404, 500), (96, 3, 1))[0]
            took = round(self._random.lognormvariate(3.2, 0.6), 2)
            measured = {"route": route, "method": method, "status": status, "duration_ms": took}
            events.append(self._event("api_latency", measured, distinct_id=gateway))
        return _request({"batch": events}, events, "192.0.2.10")

    def _health(self, count: int) -> Request:
        events = []
        for number in range(count):
            metric, unit = self._random.choice(_METRICS)
            host = _HOSTS[number % len(_HOSTS)]
            value = round(self._random.uniform(5, 95), 1)
            what = {"metric": metric, "unit": unit, "host": host}
            events.append(self._event("health_metric", what, value=value, distinct_id=host))
        lines = b"\n".join(_encode(event) for event in events)
        return Request(lines, NDJSON, "192.0.2.20", tuple(event["id"] for event in events))

    def _not_json(self) -> Request:
        body = _encode(self._event("page_view", {"url": "https://shop.example/"}))
        return Request(body[:-1], JSON, self._stranger(), (None,))

    def _without_url(self) -> Request:
        good = self._step(self._visitors[0])
        bad = self._event("page_view", {"title": "no url"})
        return _request([good, bad], [good, None], self._stranger())

    def _unknown_field(self) -> Request:
        good = self._step(self._visitors[1])
        bad = self._event("click", {"element": "buy"}, colour="red")
        return _request([bad, good], [None, good], self._stranger())

    def _naive_time(self) -> Request:
        bad = {**self._event("signup", {"plan": "free"}), "timestamp": "2026-01-31T12:00:00"}
        return _request(bad, [None], self._stranger())

    def _stranger(self) -> str:
        return self._random.choice(_ADDRESSES)


def _request(body: object, events: Sequence[Event | None], address: str) -> Request:
    ids = tuple(None if event is None else str(event["id"]) for event in events)
    return Request(_encode(body), JSON, address, ids)


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
