"""What the load consists of: events of some 400 bytes with ten properties and an id of their own.

An id is a UUIDv7 (RFC 9562) whose random bits hold the number of the run and of the event, so that
the rows of a run can be held against what was sent without keeping a list of a million ids.
"""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from argus_contract.times import rfc3339

PATH: Final = "/v1/events"
MAX_RUN: Final = 1 << 12
"""Runs that ids can tell apart."""

_VARIANTS: Final = 997
"""Distinct events; a prime, so that they do not repeat with addresses, keys or batches."""
_VISITORS: Final = 400
_EVENT_OPEN: Final = b'{"id":"'
_EVENT_TIME: Final = b'","timestamp":"'
_PAGES: Final = ("products/lamp", "products/desk", "products/chair", "cart", "checkout", "search")
_BROWSERS: Final = ("Firefox", "Chrome", "Safari", "Edge")
_SYSTEMS: Final = ("Linux", "Windows", "macOS", "Android", "iOS")


def _page_view(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "url": f"https://shop.example/{chance.choice(_PAGES)}?ref={number}",
        "referrer": f"https://search.example/q{chance.randrange(1000)}",
        "title": "Lamps and desks",
        "browser": chance.choice(_BROWSERS),
        "os": chance.choice(_SYSTEMS),
        "width": chance.choice((390, 1280, 1440, 1920)),
        "locale": chance.choice(("en-GB", "de-DE", "fr-FR")),
        "plan": chance.choice(("free", "team", "business")),
        "version": f"3.{chance.randrange(20)}.{chance.randrange(10)}",
        "loaded_ms": chance.randrange(80, 2500),
    }


def _click(number: int, chance: random.Random) -> dict[str, Any]:
    page = _page_view(number, chance)
    page.pop("title")
    return {"element": f"add-to-cart-{chance.randrange(50)}", **page}


def _api_latency(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "route": f"/api/{chance.choice(_PAGES)}",
        "method": chance.choice(("GET", "POST")),
        "status": chance.choice((200, 200, 200, 404, 500)),
        "duration_ms": round(chance.expovariate(1 / 40), 2),
        "host": f"web-{chance.randrange(12)}.shop.example",
        "region": chance.choice(("westeurope", "northeurope", "uksouth")),
        "upstream": f"orders-{chance.randrange(6)}.internal.shop.example",
        "bytes": chance.randrange(200, 90_000),
        "trace": f"{chance.getrandbits(128):032x}",
        "attempt": number % 3,
    }


_KINDS: Final = (
    ("page_view", _page_view),
    ("click", _click),
    ("page_view", _page_view),
    ("api_latency", _api_latency),
)


def variants(seed: int) -> list[bytes]:
    """The ends of the events: all that follows the timestamp's digits."""
    chance = random.Random(seed)  # noqa: S311  # variety, not a secret
    return [_variant(number, chance) for number in range(_VARIANTS)]


def _variant(number: int, chance: random.Random) -> bytes:
    name, properties = _KINDS[number % len(_KINDS)]
    visitor = chance.randrange(_VISITORS)
    fields = {
        "event": name,
        "distinct_id": f"visitor-{visitor:05}",
        "session_id": f"session-{visitor:05}-{chance.randrange(9)}",
        "properties": properties(number, chance),
    }
    return b'",' + json.dumps(fields, separators=(",", ":")).encode()[1:]


def addresses(count: int) -> list[bytes]:
    """Distinct client addresses out of 10.0.0.0/8."""
    return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}".encode() for n in range(1, count + 1)]


def lowest_id(micros: int) -> str:
    """A UUID not above any id of this millisecond or a later one."""
    digits = f"{micros // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


class Stem:
    """The parts of an event that only the time decides."""

    def __init__(self, run: int) -> None:
        """`run` tells ids from others; raises ValueError where they have no room for it."""
        if not 0 <= run < MAX_RUN:
            raise ValueError(f"run {run} is not below {MAX_RUN}")
        self._run = run
        self._millisecond = -1
        self.opening = b""
        """An event up to the last twelve digits of its id."""
        self.time = b""
        """What stands between these and the event's variant."""

    def turn(self, micros: int) -> None:
        """From now on it is this time, in microseconds since the epoch."""
        millisecond = micros // 1000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            digits = f"{millisecond:012x}"
            stem = f"{digits[:8]}-{digits[8:]}-7000-8{self._run:03x}-"
            self.opening = _EVENT_OPEN + stem.encode()
            self.time = _EVENT_TIME + rfc3339(millisecond * 1000).encode()


class Requests:
    """An endless supply of requests as bytes, ready to be written to a socket."""

    def __init__(
        self,
        keys: Sequence[str],
        weights: Sequence[float],
        address_count: int,
        batch: int,
        run: int,
    ) -> None:
        """`weights` say how much of the traffic each key has; `batch` events make a request."""
        self._stem = Stem(run)
        self._batch = batch
        self._variants = variants(seed=run)
        chance = random.Random(run)  # noqa: S311
        drawn = chance.choices([_head(key) for key in keys], weights, k=10_007)
        self._heads: Iterator[bytes] = itertools.cycle(drawn)
        self._addresses = itertools.cycle(addresses(address_count))
        self.sent = 0
        """Events given out so far; the next request's events are numbered from here on."""

    def next(self, micros: int) -> bytes:
        """The next request, its events' time being this, in microseconds since the epoch."""
        stem, first, many = self._stem, self.sent, self._variants
        stem.turn(micros)
        opening, time = stem.opening, stem.time
        if self._batch == 1:
            body = b"%b%012x%b%b" % (opening, first, time, many[first % _VARIANTS])
        else:
            numbers = range(first, first + self._batch)
            body = b"[%b]" % b",".join(
                [b"%b%012x%b%b" % (opening, n, time, many[n % _VARIANTS]) for n in numbers]
            )
        self.sent = first + self._batch
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            next(self._heads),
            next(self._addresses),
            len(body),
            body,
        )


def _head(key: str) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: argus.example\r\nUser-Agent: argus-bench\r\n"
        f"Accept: */*\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
        "X-Forwarded-For: "
    ).encode()
