"""The load generator against a small server: what it counts is what it was answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bench.load import Load, Offer, Outcome, parse

Answer = Callable[[int], Awaitable[bytes]]

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers each request by its number; remembers the bodies."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.bodies: list[bytes] = []
        self.open: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                for piece in (await self._answer(len(self.bodies))).partition(b"Accepted"):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, int]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0)
    async with listener:
        yield server, listener.sockets[0].getsockname()[1]
        await asyncio.wait(server.open, timeout=5)


async def offered(offer: Offer) -> Outcome:
    return await asyncio.to_thread(lambda: Load(offer).run())


async def accept(_: int) -> bytes:
    return OK


def _offer(port: int, **changes: object) -> Offer:
    values: dict[str, object] = {"connections": 4, "seconds": 0.3, "keys": ("k",)}
    return Offer(ports=(port,), **(values | changes))  # type: ignore[arg-type]


async def test_all_that_is_sent_is_acknowledged_and_counted_in_its_tick() -> None:
    async with serving(accept) as (server, port):
        outcome = await offered(_offer(port))
    assert outcome.requests == outcome.sent == len(server.bodies) > 10
    assert outcome.statuses == {202: outcome.requests}
    assert sum(outcome.ticks) == len(outcome.latencies) == outcome.requests
    assert outcome.unacknowledged == []


async def test_a_refused_request_is_told_by_the_number_of_its_first_event() -> None:
    async def third_is_refused(number: int) -> bytes:
        return BUSY if number == 3 else OK

    async with serving(third_is_refused) as (server, port):
        outcome = await offered(_offer(port, batch=10, connections=1))
    refused = json.loads(server.bodies[2])[0]["id"]
    assert outcome.unacknowledged == [int(refused[-12:], 16)] == [20]
    assert outcome.statuses[503] == 1
    assert outcome.sent == 10 * (outcome.requests + 1)


async def test_a_rate_is_kept_and_lateness_counts_from_when_a_request_was_due() -> None:
    async def slow_once(number: int) -> bytes:
        if number == 5:
            await asyncio.sleep(0.2)
        return OK

    async with serving(slow_once) as (_, port):
        outcome = await offered(_offer(port, rate=100.0, seconds=0.6, connections=1))
    assert 55 <= outcome.requests <= 60
    assert sum(latency > 0.05 for latency in outcome.latencies) > 10


async def test_what_is_never_answered_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never_the_second(number: int) -> bytes:
        if number == 2:
            await asyncio.sleep(1)
        return OK

    monkeypatch.setattr("bench.load._PATIENCE", 0.2)
    async with serving(never_the_second) as (_, port):
        outcome = await offered(_offer(port, connections=1))
    assert outcome.statuses == {202: 1, 0: 1}
    assert outcome.unacknowledged == [1]


def test_an_answer_in_pieces_is_not_whole_before_its_body() -> None:
    assert parse(OK[:20]) == (0, 0)
    assert parse(OK[:-1]) == (202, len(OK))
    assert parse(BUSY) == (503, len(BUSY))


def test_an_answer_without_a_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        parse(b"HTTP/1.1 200 OK\r\n\r\n")
