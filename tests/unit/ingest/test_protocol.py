"""Heads within bounds; the hot route and others on one connection, each its own way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from argus_ingest import answer, protocol
from argus_ingest.answer import Answer
from argus_ingest.exchange import Exchange
from argus_ingest.protocol import HEAD_BYTES, App, EdgeProtocol
from argus_runtime.http import serving

PATIENCE = 5.0


async def say_ok(_scope: Any, _receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


async def echo(exchange: Exchange) -> None:
    """Answers with what was asked; `slow` as a query waits before it reads."""
    if exchange.query == b"slow":
        await asyncio.sleep(0.3)
    body, more = b"", True
    while more:
        piece, more = await exchange.read()
        body += piece
    said = b"%b %b" % (exchange.method.encode(), body)
    if exchange.write(answer.render(Answer(200, [], said), exchange)):
        await exchange.drained()
    exchange.finish()


def config(keep_alive: int = 5) -> uvicorn.Config:
    return uvicorn.Config(
        App(echo, say_ok),
        interface="asgi3",
        host="127.0.0.1",
        port=0,
        http=EdgeProtocol,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=keep_alive,
    )


@asynccontextmanager
async def connection(
    keep_alive: int = 5,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(config(keep_alive)) as server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def test_a_head_without_end_ends_its_connection() -> None:
    async with connection() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(HEAD_BYTES // 1024):
            writer.write(b"x" * 1024)
            await writer.drain()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"The request's head is too large.")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_ends_its_connection(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.1)
    async with connection() as (reader, writer):
        writer.write(begun)
        assert await reader.read() == b""


async def test_a_second_head_that_does_not_come_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)
    async with connection() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        await asyncio.sleep(0.4)
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await reader.read() == b""


async def test_heads_in_pieces_and_large_bodies_are_answered() -> None:
    async with connection() as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d" % (2 * HEAD_BYTES))
            await asyncio.sleep(0.01)
            writer.write(b"\r\n\r\n" + b"x" * (2 * HEAD_BYTES))
            await reader.readuntil(b"ok")


def post(target: bytes, body: bytes, *lines: bytes) -> bytes:
    head = [b"POST %b HTTP/1.1" % target, b"content-length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def answers(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """The bodies of so many answers."""
    found = []
    for _ in range(count):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append(await reader.readexactly(size))
    return found


HOT = b"/v1/events"


@pytest.mark.parametrize(
    "target", [HOT, HOT + b"?key=k", b"http://edge" + HOT, b"/v1/event%73", HOT + b"#x"]
)
async def test_every_form_of_the_hot_target_takes_the_short_way(target: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(post(target, b"hello"))
        assert await answers(reader, 1) == [b"POST hello"]


@pytest.mark.parametrize("target", [b"/", b"/v1/events/", b"/v1/eventsx", b"/V1/events"])
async def test_other_targets_go_to_the_site(target: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(post(target, b""))
        assert await answers(reader, 1) == [b"ok"]


async def test_pipelined_requests_are_answered_in_their_order_whichever_way_they_go() -> None:
    async with connection() as (reader, writer):
        writer.write(
            post(HOT + b"?slow", b"1") + post(b"/", b"") + post(HOT, b"2") + post(b"/", b"")
        )
        assert await answers(reader, 4) == [b"POST 1", b"ok", b"POST 2", b"ok"]


async def test_a_large_body_is_taken_no_faster_than_it_is_read() -> None:
    async with connection() as (reader, writer):
        writer.write(post(HOT + b"?slow", b"x" * 1_000_000))
        assert await answers(reader, 1) == [b"POST " + b"x" * 1_000_000]
        writer.write(post(HOT, b"again"))
        assert await answers(reader, 1) == [b"POST again"]


async def test_a_client_that_waits_to_continue_is_told_to() -> None:
    async with connection() as (reader, writer):
        writer.write(post(HOT, b"12345", b"expect: 100-continue")[:-5])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"12345")
        assert await answers(reader, 1) == [b"POST 12345"]


@pytest.mark.parametrize(
    "request_", [b"POST %b HTTP/1.0\r\n\r\n" % HOT, post(HOT, b"", b"connection: close")]
)
async def test_a_connection_ends_where_its_client_wants_it(request_: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(request_)
        said = await reader.read()
        assert b"\r\nconnection: close\r\n" in said
        assert said.endswith(b"POST ")


async def test_the_answer_to_head_has_no_body() -> None:
    async with connection() as (reader, writer):
        writer.write(b"HEAD %b HTTP/1.1\r\nhost: x\r\n\r\n" % HOT + post(HOT, b"next"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 5\r\n" in head
        assert await answers(reader, 1) == [b"POST next"]


async def test_an_idle_connection_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.1)
    async with connection(keep_alive=1) as (reader, writer):
        writer.write(post(HOT, b""))
        assert await answers(reader, 1) == [b"POST "]
        await asyncio.sleep(0.5)
        writer.write(post(HOT, b""))
        assert await answers(reader, 1) == [b"POST "]
        assert await reader.read() == b""


async def test_a_server_that_ends_waits_for_the_answer_under_way() -> None:
    async with serving(config()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
        writer.write(post(HOT + b"?slow", b"1"))
        await asyncio.sleep(0.02)
    said = await reader.read()
    writer.close()
    assert b"connection: close" in said
    assert said.endswith(b"POST 1")
