"""Steady load over HTTP that keeps its own record of all that was answered.

What is offered does not wait for what was offered before; what was not acknowledged is sent again,
byte for byte, at a bounded rate, until it is. The record learns nothing from ARGUS but its answers,
so that it can be held against what ARGUS stored.
"""

import asyncio
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import aiohttp
import msgspec
from argus_contract.rejects import Code

from tests.chaos.tenants import Tenant, new_address
from tests.chaos.traffic import Item, Request, Shape, Traffic

PASSING: Final = frozenset({0, 408, 429, 503})
"""Statuses after which the same may be sent again; 0 stands for no answer at all."""
_TICK_S: Final = 0.02
_TIMEOUT: Final = aiohttp.ClientTimeout(total=12, sock_connect=3)
_IN_FLIGHT: Final = 300
_RESENDS: Final = 100.0
"""Most resends a second: an outage's backlog must not take the machine that has to recover."""
_LONGEST_WAIT_S: Final = 3.0
_REMEMBERED: Final = 3_000
"""Acknowledged requests of which some are sent again on purpose."""


class Attempt(NamedTuple):
    """One POST; seconds of the loop's clock. `first` is False for a resend."""

    started: float
    took: float
    events: int
    status: int
    acknowledged: bool
    first: bool


@dataclass(slots=True)
class Letter:
    """What is to become a dead letter, and how often it was sent and acknowledged."""

    item: Item
    sends: int = 0
    acks: int = 0


class _Rejection(msgspec.Struct):
    index: int
    code: str


class _Answer(msgspec.Struct):
    accepted: int = 0
    rejected: list[_Rejection] = []


_decode: Final = msgspec.json.Decoder(_Answer).decode


@dataclass(slots=True, eq=False)
class Flow:
    """The traffic of one tenant, and the record of it. `rate` in events/s may be changed."""

    tenant: Tenant
    rate: float
    shape: Shape = field(default_factory=Shape)
    repeated: float = 0.02
    """Of requests, how many acknowledged ones are sent once more on purpose."""
    rows: dict[bytes, int] = field(default_factory=dict)
    """By id of each event that is to become a row: how often it was acknowledged."""
    contents: dict[bytes, bytes] = field(default_factory=dict)
    """By the same ids, the digests of what was sent."""
    letters: dict[bytes, Letter] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """Attempts without acknowledgement, by status or by what went wrong."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no client should ever get."""
    acknowledged: int = 0
    """Records of the log that the answers promise, resends included."""

    def sending(self, request: Request) -> None:
        """Notes that these items may be in the log from now on."""
        for item in request.items:
            if item.code is None:
                self.rows.setdefault(item.id, 0)
                self.contents[item.id] = item.content
            else:
                self.letters.setdefault(item.id, Letter(item)).sends += 1

    def answered(self, request: Request) -> None:
        """Notes that all of these items are promised to be in the log."""
        self.acknowledged += len(request.items)
        for item in request.items:
            if item.code is None:
                self.rows[item.id] += 1
            else:
                self.letters[item.id].acks += 1

    def unacknowledged(self) -> int:
        """Items that never got an acknowledgement."""
        rows = sum(not acks for acks in self.rows.values())
        return rows + sum(not letter.acks for letter in self.letters.values())

    def repeats(self) -> int:
        """Acknowledged records that must have become duplicates."""
        again = sum(acks - 1 for acks in self.rows.values() if acks > 1)
        return again + sum(
            letter.acks - 1
            for letter in self.letters.values()
            if letter.acks > 1 and not letter.item.letters_each
        )

    def latencies(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Seconds of acknowledged attempts that began in this span, ascending."""
        return sorted(
            attempt.took
            for attempt in self.attempts
            if attempt.acknowledged and since <= attempt.started < until
        )


class _Task(NamedTuple):
    flow: Flow
    request: Request
    first: bool
    tries: int


def _session(fresh: bool) -> aiohttp.ClientSession:
    """Servers, which send batches, keep connections; people come with a new one each."""
    keep = None if fresh else 20.0
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=keep, force_close=fresh)
    return aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)


class Load:
    """Offers all flows at once; `run` is its life, and ends when all is acknowledged."""

    def __init__(self, flows: Sequence[Flow], seed: int) -> None:
        self.flows = tuple(flows)
        self._random = random.Random(seed)
        self._traffic = {
            flow: Traffic(flow.shape, self._random.getrandbits(64)) for flow in self.flows
        }
        self._due = dict.fromkeys(self.flows, 0.0)
        self._known: dict[Flow, deque[Request]] = {
            flow: deque(maxlen=_REMEMBERED) for flow in self.flows
        }
        self._backlog: deque[_Task] = deque()
        self._later: list[tuple[float, int, _Task]] = []
        self._order = itertools.count()
        self._in_flight = 0
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Requests that are neither acknowledged nor given up."""
        return len(self._backlog) + len(self._later) + self._in_flight

    def stop(self) -> None:
        """Offers nothing new; what is not acknowledged is still sent again."""
        self._stopping = True

    async def run(self) -> None:
        """Offers until `stop`, then resends until everything is acknowledged."""
        async with _session(False) as kept, _session(True) as fresh, asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            then = loop.time()
            while not self._stopping or self.waiting:
                await asyncio.sleep(_TICK_S)
                now = loop.time()
                self._offer(now - then)
                self._resend(now, now - then)
                then = now
                while self._backlog and self._in_flight < _IN_FLIGHT:
                    self._in_flight += 1
                    task = self._backlog.popleft()
                    session = kept if len(task.request.items) > 1 else fresh
                    group.create_task(self._attempt(session, task))

    def _offer(self, elapsed: float) -> None:
        if self._stopping:
            return
        for flow in self.flows:
            self._due[flow] += flow.rate * elapsed
            while self._due[flow] >= 1:
                request = self._traffic[flow].next()
                self._due[flow] -= len(request.items)
                self._backlog.append(_Task(flow, request, True, 0))
                known = self._known[flow]
                if known and self._random.random() < flow.repeated:
                    again = known[self._random.randrange(len(known))]
                    self._backlog.append(_Task(flow, again, False, 0))

    def _resend(self, now: float, elapsed: float) -> None:
        allowed = _RESENDS * elapsed
        allowed = int(allowed) + (self._random.random() < allowed % 1)
        while allowed and self._later and self._later[0][0] <= now:
            self._backlog.append(heapq.heappop(self._later)[2])
            allowed -= 1

    async def _attempt(self, session: aiohttp.ClientSession, task: _Task) -> None:
        loop = asyncio.get_running_loop()
        flow, request = task.flow, task.request
        flow.sending(request)
        started = loop.time()
        wait = 0.0
        status = 0
        try:
            status, wait = await self._post(session, flow, request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            flow.failures[type(error).__name__] += 1
        finally:
            self._in_flight -= 1
        acknowledged = status == request.answer
        took = loop.time() - started
        flow.attempts.append(
            Attempt(started, took, len(request.items), status, acknowledged, task.first)
        )
        if acknowledged:
            flow.answered(request)
            self._known[flow].append(request)
        elif status in PASSING:
            pause = wait or min(0.25 * 2.0**task.tries, _LONGEST_WAIT_S)
            due = loop.time() + min(pause, _LONGEST_WAIT_S) * self._random.uniform(0.7, 1.3)
            later = _Task(flow, request, False, task.tries + 1)
            heapq.heappush(self._later, (due, next(self._order), later))

    async def _post(
        self, session: aiohttp.ClientSession, flow: Flow, request: Request
    ) -> tuple[int, float]:
        """The status, and the seconds that Retry-After asks for."""
        headers = {
            "authorization": f"Bearer {flow.tenant.key}",
            "content-type": request.content_type,
            "x-forwarded-for": new_address(),
        }
        if request.encoding is not None:
            headers["content-encoding"] = request.encoding
        url = f"{flow.tenant.url}/v1/events"
        async with session.post(url, data=request.body, headers=headers) as response:
            body = await response.read()
        status = response.status
        if status == 202:
            flow.wrong += _mistaken(request, _decode(body))
        if status != request.answer:
            flow.failures[str(status)] += 1
            if status not in PASSING:
                flow.wrong.append(f"{status} instead of {request.answer}: {body[:300]!r}")
        after = response.headers.get("retry-after", "")
        return status, float(after) if after.isdecimal() else 0.0


def _mistaken(request: Request, answer: _Answer) -> Iterable[str]:
    """What is wrong with the answer to an acknowledged request."""
    refused = {one.index: one.code for one in answer.rejected}
    expected = {
        index: item.code for index, item in enumerate(request.items) if item.at_edge and item.code
    }
    if refused != expected:
        yield f"refused {refused} instead of {expected}"
    if answer.accepted + len(refused) != len(request.items):
        yield f"accepted {answer.accepted} of {len(request.items)}, refused {len(refused)}"


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which this share of the others lies; NaN of none."""
    if not ascending:
        return float("nan")
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def acknowledged_share(
    flows: Iterable[Flow], windows: Sequence[tuple[float, float]]
) -> tuple[int, int]:
    """Events of first attempts that began outside of these windows: acknowledged, and all."""
    good = total = 0
    for flow in flows:
        for attempt in flow.attempts:
            if attempt.first and not any(a <= attempt.started < b for a, b in windows):
                total += attempt.events
                good += attempt.events if attempt.acknowledged else 0
    return good, total


def codes(flow: Flow) -> Counter[Code]:
    """How many ids are to be dead letters, by reason."""
    return Counter(one.item.code for one in flow.letters.values() if one.item.code is not None)
