"""A body that comes in pieces, or not at all."""

import asyncio

import pytest
from argus_ingest.exchange import ClientGoneError, Exchange

from tests.unit.ingest.helpers import FakeConnection


def made(*lines: tuple[bytes, bytes]) -> tuple[Exchange, FakeConnection]:
    client = FakeConnection()
    return Exchange(client, "POST", b"", lines, keep_alive=True), client


async def test_a_body_that_is_all_there_is_taken_at_once() -> None:
    exchange, _ = made()
    exchange.feed(b"a")
    exchange.feed(b"b")
    assert exchange.take_whole() is None
    exchange.end()
    assert exchange.take_whole() == b"ab"


async def test_pieces_are_read_as_they_come() -> None:
    exchange, _ = made()
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    exchange.feed(b"a")
    assert await reading == (b"a", True)
    exchange.feed(b"b")
    exchange.end()
    assert await exchange.read() == (b"b", False)
    assert await exchange.read() == (b"", False)


async def test_what_is_not_read_pauses_the_client() -> None:
    exchange, client = made()
    exchange.feed(bytes(65_536))
    assert client.pauses == 0
    exchange.feed(b"x")
    assert client.pauses == 1
    assert len((await exchange.read())[0]) == 65_537
    assert client.resumes == 1


@pytest.mark.parametrize("fed", [b"", b"half"])
async def test_a_client_that_hangs_up_wakes_the_reader(fed: bytes) -> None:
    exchange, client = made()
    exchange.feed(fed)
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    exchange.hang_up()
    if fed:
        assert await reading == (fed, True)
        reading = asyncio.create_task(exchange.read())
    with pytest.raises(ClientGoneError):
        await reading
    assert exchange.take_whole() is None
    assert not exchange.write(b"too late")
    assert client.written == b""


async def test_a_client_that_takes_nothing_is_waited_for() -> None:
    exchange, client = made()
    client.drains.clear()
    assert exchange.write(b"answer")
    assert client.written == b"answer"
    writing = asyncio.create_task(exchange.drained())
    await asyncio.sleep(0)
    assert not writing.done()
    client.drains.set()
    await writing


async def test_it_is_continued_once_and_only_where_the_body_is_waited_for() -> None:
    exchange, client = made((b"expect", b"100-Continue"))
    exchange.feed(b"came unasked")
    assert await exchange.read() == (b"came unasked", True)
    assert client.written == b""
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    exchange.feed(b"more")
    await reading
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    exchange.end()
    await reading
    assert client.written == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_it_is_finished_once() -> None:
    exchange, client = made()
    exchange.finish()
    exchange.finish()
    assert exchange.response_complete
    assert client.ended is False


async def test_the_last_line_of_a_name_counts_and_all_lines_are_there() -> None:
    exchange, client = made((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert exchange.headers == {b"a": b"3", b"b": b"2"}
    assert [value for _, value in exchange.fields] == [b"1", b"2", b"3"]
    assert exchange.client == client.client
