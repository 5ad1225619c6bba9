"""Head and body of an answer in one write; heads of requests within bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from argus_ingest import protocol
from argus_ingest.protocol import HEAD_BYTES, PairingProtocol, PairingTransport
from argus_runtime.http import serving

PATIENCE = 5.0


class Below(asyncio.Transport):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")


def pair() -> tuple[PairingTransport, Below]:
    below = Below()
    return PairingTransport(below, asyncio.get_running_loop()), below


async def test_two_writes_of_one_turn_are_one() -> None:
    transport, below = pair()
    transport.write(b"head")
    transport.write(b"body")
    assert below.told == [b"headbody"]
    await asyncio.sleep(0)
    assert below.told == [b"headbody"]


async def test_a_single_write_leaves_with_the_turn() -> None:
    transport, below = pair()
    transport.write(b"head")
    assert below.told == []
    await asyncio.sleep(0)
    assert below.told == [b"head"]


async def test_order_is_kept_over_any_number_of_writes() -> None:
    transport, below = pair()
    for n in range(7):
        transport.write(b"%d" % n)
        if n % 3 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(part for part in below.told if isinstance(part, bytes)) == b"0123456"


async def test_closing_loses_nothing_and_aborting_everything() -> None:
    transport, below = pair()
    transport.write(b"head")
    transport.close()
    assert below.told == [b"head", "close"]
    transport, below = pair()
    transport.write(b"head")
    transport.abort()
    await asyncio.sleep(0)
    assert below.told == ["abort"]


async def say_ok(_scope: Any, _receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(
        say_ok,
        interface="asgi3",
        host="127.0.0.1",
        port=0,
        http=PairingProtocol,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    async with serving(config) as server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
        yield reader, writer
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
