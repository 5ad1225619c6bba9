"""The load generator, a process of its own: `python -m bench.load`, an Offer on standard input.

It has to cost less than what it measures, know the ids of all that was acknowledged, and offer a
rate whatever the answers do; no generator that is packaged does the three. So: non-blocking sockets
and one epoll, requests put together from prepared bytes, HTTP parsed no further than needed.

With a rate, a request's latency counts from when it was due, not from when a connection was free.
"""

import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bench import otlp
from bench.events import Requests

HOST: Final = "127.0.0.1"
TICK: Final = 0.01
"""Seconds in which acknowledgements are counted together."""
ACKNOWLEDGED: Final = 202
OK: Final = 200
"""What acknowledges a request in OTLP."""

_RECEIVE: Final = 65_536
_PATIENCE: Final = 15.0
_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLIN | select.EPOLLOUT


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and how."""

    host: str = HOST
    dialect: str = "argus"
    """What requests look like: `argus`, or one of bench.otlp."""
    ports: tuple[int, ...]
    """Connections are spread over these."""
    keys: tuple[str, ...] = ()
    """API keys, each of a tenant."""
    weights: tuple[float, ...] = (1.0,)
    """Each key's share of the requests."""
    addresses: int = 1000
    """Distinct X-Forwarded-For."""
    connections: int = 256
    batch: int = 1
    """Events in a request."""
    seconds: float = 10.0
    rate: float | None = None
    """Requests a second; None: each connection sends its next when it has its answer."""
    run: int = 0
    """Told from others by the ids."""


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it. Times are of CLOCK_MONOTONIC, which all processes of a host share."""

    began: float = 0.0
    began_at: int = 0
    """The same moment in microseconds since the epoch."""
    ended: float = 0.0
    sent: int = 0
    """Events; they are numbered from 0 on."""
    requests: int = 0
    """Requests acknowledged."""
    ticks: list[int] = []
    """Requests acknowledged in each TICK since the beginning."""
    latencies: list[float] = []
    """Seconds, in the order of acknowledgement."""
    statuses: dict[int, int] = {}
    """Answers by status; 0 are requests without any."""
    unacknowledged: list[int] = []
    """First numbers of requests whose events were not acknowledged."""


def refused(statuses: Mapping[int, int]) -> int:
    """Requests of ours that were not acknowledged, given how many there were of each status."""
    return sum(count for status, count in statuses.items() if status != ACKNOWLEDGED)


class _Connection:
    """A socket and the request that is under way on it."""

    __slots__ = ("buffer", "due", "first", "rest", "socket")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.rest = b""
        self.buffer = b""
        self.due = 0.0
        self.first = -1
        """Number of the request's first event; -1: none is under way."""


class Load:
    """One offer's life."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._requests = _supply(offer)
        self._acknowledged = ACKNOWLEDGED if offer.dialect == "argus" else OK
        self._success = b"HTTP/1.1 %d " % self._acknowledged
        self._epoll = select.epoll()
        self._connections = dict(self._connect())
        self._idle = deque(self._connections.values())
        self._statuses: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._ticks: list[int] = []
        self._unacknowledged: list[int] = []
        self._began = 0.0
        self._answer = b""
        """The last acknowledgement, whose length tells most others whole."""

    def _connect(self) -> Iterable[tuple[int, _Connection]]:
        offer = self._offer
        for number in range(offer.connections):
            port = offer.ports[number % len(offer.ports)]
            opened = socket.create_connection((offer.host, port), timeout=_PATIENCE)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(False)
            self._epoll.register(opened, _READ)
            yield opened.fileno(), _Connection(opened)

    def run(self) -> Outcome:
        """Offers for the seconds of the offer, then waits for the answers that are still out."""
        self._began, began_at = time.monotonic(), time.time_ns() // 1000
        end = self._began + self._offer.seconds
        try:
            if self._offer.rate is None:
                self._saturate(end)
            else:
                self._pace(end, self._offer.rate)
            self._finish(time.monotonic() + _PATIENCE)
        finally:
            self._close()
        return Outcome(
            began=self._began,
            began_at=began_at,
            ended=time.monotonic(),
            sent=self._requests.sent,
            requests=self._statuses[self._acknowledged],
            ticks=self._ticks,
            latencies=self._latencies,
            statuses=dict(self._statuses),
            unacknowledged=self._unacknowledged,
        )

    def _saturate(self, end: float) -> None:
        idle = self._idle
        while (now := time.monotonic()) < end:
            while idle:
                self._send(idle.popleft(), now)
            self._poll(end - now)

    def _pace(self, end: float, rate: float) -> None:
        idle, number = self._idle, 0
        due = self._began
        while (now := time.monotonic()) < end:
            while idle and due <= now:
                self._send(idle.popleft(), due)
                number += 1
                due = self._began + number / rate
            self._poll((max(due, now) if idle else end) - now)

    def _finish(self, deadline: float) -> None:
        while len(self._idle) < len(self._connections):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._poll(left)
        for connection in self._connections.values():
            if connection.first >= 0:
                self._lose(connection)

    def _close(self) -> None:
        self._epoll.close()
        for connection in self._connections.values():
            connection.socket.close()

    def _send(self, connection: _Connection, due: float) -> None:
        connection.due = due
        connection.first = self._requests.sent
        self._write(connection, self._requests.next(time.time_ns() // 1000))

    def _write(self, connection: _Connection, data: bytes) -> None:
        try:
            written = connection.socket.send(data)
        except BlockingIOError:
            written = 0
        had_rest, connection.rest = bool(connection.rest), data[written:]
        if connection.rest and not had_rest:
            self._epoll.modify(connection.socket, _WRITE)
        elif had_rest and not connection.rest:
            self._epoll.modify(connection.socket, _READ)

    def _poll(self, timeout: float) -> None:
        for number, events in self._epoll.poll(timeout):
            connection = self._connections[number]
            if events & select.EPOLLOUT and connection.rest:
                self._write(connection, connection.rest)
            if events & ~select.EPOLLOUT:
                self._receive(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(_RECEIVE)
        if not data:
            raise ConnectionError("the server closed a connection")
        if connection.buffer:
            data = connection.buffer + data
        if len(data) == len(self._answer) and data.startswith(self._success):
            status = self._acknowledged
        else:
            status, length = parse(data)
            if status == 0 or len(data) < length:
                connection.buffer = data
                return
            if status == self._acknowledged:
                self._answer = data
        connection.buffer = b""
        self._note(connection, status, time.monotonic())
        self._idle.append(connection)

    def _note(self, connection: _Connection, status: int, now: float) -> None:
        self._statuses[status] += 1
        if status == self._acknowledged:
            tick = int((now - self._began) / TICK)
            ticks = self._ticks
            while len(ticks) <= tick:
                ticks.append(0)
            ticks[tick] += 1
            self._latencies.append(now - connection.due)
        else:
            self._unacknowledged.append(connection.first)
        connection.first = -1

    def _lose(self, connection: _Connection) -> None:
        self._statuses[0] += 1
        self._unacknowledged.append(connection.first)


def _supply(offer: Offer) -> Requests | otlp.Requests:
    if offer.dialect == "argus":
        return Requests(offer.keys, offer.weights, offer.addresses, offer.batch, offer.run)
    return otlp.Requests(offer.dialect, offer.batch)


def parse(data: bytes) -> tuple[int, int]:
    """Status and whole length of an answer with Content-Length; (0, 0) before its head is whole.

    Raises ValueError for anything else.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0, 0
    line, *fields = data[:end].split(b"\r\n")
    for field in fields:
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            return int(line.split(b" ")[1]), end + 4 + int(value)
    raise ValueError(f"an answer without Content-Length: {data[:end]!r}")


def main() -> None:
    """Reads the offer, makes it, writes the outcome."""
    offer = msgspec.json.decode(sys.stdin.buffer.read(), type=Offer)
    sys.stdout.buffer.write(msgspec.msgpack.encode(Load(offer).run()))


if __name__ == "__main__":
    main()
