"""Bad input that must be survived (design.md, section 6), through the wire to a running process.

What a client can send is sent; each time it is looked up what became of it in the log, and that the
process answers the next good event as before.
"""

import asyncio
import gzip
import json
import secrets
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import brotli
import pytest
import pytest_asyncio
import zstandard
from argus_contract import envelope, headers
from argus_contract.rejects import Code
from argus_contract.sizes import KEPT_OF_REJECT, KIB, MAX_DEPTH, MAX_EVENT, MIB

from tests.fuzz.invariants import OF_THE_EDGE
from tests.integration.ingest.conftest import (
    HOST,
    Edge,
    Kafka,
    Tenant,
    eventually,
    open_broker,
    pipeline,
    running_edge,
    tenant,
)
from tests.integration.ingest.wire import request

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD: Final = b'{"event":"good"}'
OWN: Final = "0190a5a0-1111-7222-8333-444455556666"
BODY_TIMEOUT: Final = 1.0


@dataclass
class World:
    """One process and one tenant, whose topic is read on from where the last test left it."""

    broker: Kafka
    edge: Edge
    acme: Tenant
    seen: int = 0

    async def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        answer = await self.edge.post(self.acme.server_key, body, **headers)
        return answer.status_code, answer.json()

    async def new(self) -> list[Any]:
        """The records since the last call."""
        records = await self.broker.records(self.acme.topic)
        found, self.seen = records[self.seen :], len(records)
        return found

    async def is_well(self) -> None:
        """A good event is accepted, and no defect was met."""
        assert (await self.post(GOOD))[0] == 202
        metrics = await self.edge.metrics()
        assert not [name for name in metrics if 'status="500"' in name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(kafka: str) -> AsyncIterator[World]:
    async with open_broker(kafka) as broker:
        acme = tenant(pipeline("main", await broker.create()))
        await broker.publish(acme)
        settings = {"HTTP__BODY_TIMEOUT": str(BODY_TIMEOUT)}
        async with running_edge(broker, **settings) as edge:
            await edge.until_ready()
            yield World(broker, edge, acme)


@pytest_asyncio.fixture(loop_scope="module")
async def world(whole: World) -> AsyncIterator[World]:
    await whole.new()
    yield whole
    await whole.is_well()


def nested(levels: int) -> bytes:
    return b'{"event":"x","properties":{"a":' + b"[" * levels + b"]" * levels + b"}}"


def event(**fields: Any) -> bytes:
    return json.dumps({"event": "x", **fields}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"event":"x","properties":{"nul":"a\\u0000b"}}',
        b'{"event":"a\\u0000b"}',
        b'{"event":"x","distinct_id":"\\u0000"}',
        nested(MAX_DEPTH - 2),
        event(properties={"a": "y" * 200 * KIB}),
        b'{"event":"x","properties":{"n":1e400,"m":-1e-400,"k":' + b"9" * 4_000 + b"}}",
        b'{"event":"x","value":1e308,"properties":{"n":0.1e-99999}}',
        event(timestamp="9999-12-31T23:59:59.999999Z"),
        event(timestamp="0001-01-01T00:00:00Z"),
        event(timestamp="2099-01-01T00:00:00+14:00"),
        b'{"event":"x","properties":{"a":1,"a":2},"properties":{"b":1}}',
        event(properties={"\ufffe": "\U0010ffff", "": {}}),
    ],
    ids=[
        "NUL in a property",
        "NUL in a name",
        "NUL in a key",
        "deepest",
        "long string",
        "numbers",
        "extremes",
        "year 9999",
        "year 1",
        "later",
        "twice",
        "noncharacters",
    ],
)
async def test_what_only_the_stream_may_judge_is_published_byte_for_byte(
    world: World, body: bytes
) -> None:
    assert await world.post(body) == (202, {"accepted": 1, "rejected": []})
    (record,) = await world.new()
    assert body in record.value
    assert headers.get(record.headers, headers.REJECT) is None
    assert envelope.decode(record.value).event.event


async def test_of_two_equal_fields_the_last_one_counts(world: World) -> None:
    assert (await world.post(b'{"event":"first","value":1,"event":"last","value":2}'))[0] == 202
    (record,) = await world.new()
    decoded = envelope.decode(record.value)
    assert (decoded.event.event, decoded.effective_value) == ("last", 2)


LARGE: Final = b'{"id":"%b","event":"x","properties":{"a":"%b"}}' % (OWN.encode(), b"y" * MIB)
REJECTS: Final[list[tuple[Code, bytes, str | None, str | None]]] = [
    # Code, item, the name and the id that were legible.
    (Code.INVALID_EVENT, b"{}", None, None),
    (Code.INVALID_EVENT, event(id=OWN, value="1"), "x", OWN),
    (Code.INVALID_EVENT, event(id="not-a-uuid"), "x", None),
    (Code.INVALID_EVENT, event(id=OWN.replace("-", "")), "x", None),
    (Code.INVALID_EVENT, event(id=f"urn:uuid:{OWN}"), "x", None),
    (Code.INVALID_EVENT, event(event="y" * 201, id=OWN), None, OWN),
    (Code.INVALID_EVENT, event(distinct_id="y" * 201), "x", None),
    (Code.INVALID_EVENT, event(timestamp="10000-01-01T00:00:00Z"), "x", None),
    (Code.INVALID_EVENT, event(timestamp="2026-01-01T00:00:00"), "x", None),
    (Code.INVALID_EVENT, event(timestamp="2026-02-30T00:00:00Z"), "x", None),
    (Code.INVALID_EVENT, b'{"event":"x","value":1e309}', "x", None),
    (Code.INVALID_EVENT, b'{"event":"x","value":-' + b"9" * 400 + b"}", "x", None),
    (Code.INVALID_EVENT, event(properties=[1]), "x", None),
    (Code.INVALID_EVENT, b'{"event":{"event":"x"}}', None, None),
    (Code.INVALID_EVENT, b"[[[]]]", None, None),
    (Code.UNKNOWN_FIELD, event(id=OWN.upper(), user=1), "x", OWN),
    (Code.UNKNOWN_FIELD, event(**{"y" * 100_000: 1}), "x", None),
    (Code.TOO_LARGE, LARGE, "x", OWN),
    (Code.TOO_LARGE, event(event="y" * MIB), None, None),
    (Code.TOO_DEEP, nested(MAX_DEPTH - 1), "x", None),
    (Code.TOO_DEEP, nested(5_000), None, None),
    (Code.TOO_DEEP, nested(50_000), None, None),
    (
        Code.UNSTORABLE,
        b'{"event":"x","id":"%b","properties":{"a":"\\ud800"}}' % OWN.encode(),
        "x",
        OWN,
    ),
    (Code.UNSTORABLE, b'{"event":"x","properties":{"\\udfff\\ud800":1}}', "x", None),
    (Code.UNSTORABLE, b'{"event":"\\ud83d"}', None, None),
]


@pytest.mark.parametrize(("code", "item", "name", "own"), REJECTS)
async def test_each_reject_reaches_the_log_with_its_headers_and_spoils_no_other(
    world: World, code: Code, item: bytes, name: str | None, own: str | None
) -> None:
    status, answer = await world.post(b"[" + GOOD + b"," + item + b"," + GOOD + b"]")
    assert (status, answer["accepted"]) == (202, 2), answer
    (told,) = answer["rejected"]
    assert (told["index"], told["code"]) == (1, code)
    first, record, last = await world.new()
    assert GOOD in first.value
    assert GOOD in last.value
    carried = dict(record.headers)
    assert record.value == (item[:KEPT_OF_REJECT] if code is Code.TOO_LARGE else item)
    assert carried.pop(headers.REJECT) == code.encode()
    assert carried.pop(headers.ERROR).decode() == told["message"]
    assert abs(int(carried.pop(headers.RECEIVED)) / 1e6 - time.time()) < 60
    given = carried.pop(headers.ID).decode()
    assert own in (given, None)
    assert carried.pop(headers.EVENT, b"").decode() == (name or "")
    cut = carried.pop(headers.TRUNCATED, None)
    assert cut == (b"%d" % len(item) if code is Code.TOO_LARGE else None)
    assert carried == {}
    # Sent again it is the same reject where the client said which.
    await world.post(item)
    (again,) = await world.new()
    assert (headers.get(again.headers, headers.ID) == given.encode()) == (own is not None)


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"x","value":NaN}',
        b'{"event":"x","properties":{"a":Infinity}}',
        b'{"event":"x"',
        b'{"event":"x","properties":{"a":"\xff"}}',
        b"\xef\xbb\xbf" + GOOD,
        b"nonsense",
        b"\x00",
    ],
)
async def test_what_is_no_json_spoils_its_line_or_its_body(world: World, line: bytes) -> None:
    code = Code.INVALID_JSON
    lines = GOOD + b"\n" + line + b"\n" + GOOD
    status, answer = await world.post(lines, content_type="application/x-ndjson")
    assert (status, answer["accepted"]) == (202, 2)
    assert [(told["index"], told["code"]) for told in answer["rejected"]] == [(1, code)]
    _, record, _ = await world.new()
    assert (record.value, headers.get(record.headers, headers.REJECT)) == (line, code.encode())
    body = b"[" + GOOD + b"," + line + b"]"
    status, answer = await world.post(body)
    assert (status, answer["rejected"][0]["code"]) == (400, code)
    (record,) = await world.new()
    assert (record.value, headers.get(record.headers, headers.REJECT)) == (body, code.encode())


async def test_every_code_of_the_edge_is_among_them() -> None:
    assert {code for code, *_ in REJECTS} | {Code.INVALID_JSON} == OF_THE_EDGE


async def test_many_names_leave_nothing_behind_in_the_process(world: World) -> None:
    series = len(await world.edge.metrics())
    for _ in range(4):
        events = [{"event": secrets.token_hex(16)} for _ in range(5_000)]
        status, answer = await world.post(json.dumps(events).encode())
        assert (status, answer["accepted"]) == (202, 5_000)
    assert len(await world.edge.metrics()) <= series + 2


def _zip(level: int, wbits: int, data: bytes) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, wbits)
    return stream.compress(data) + stream.flush()


BOMB: Final = bytes(200 * MIB)


@pytest.mark.parametrize(
    ("encoding", "bomb", "status"),
    [
        ("gzip", gzip.compress(BOMB, 1), 413),
        ("gzip", gzip.compress(bytes(MIB), 9) * 30, 400),
        ("gzip", gzip.compress(b"", 9) * 10_000, 400),
        ("gzip", gzip.compress(gzip.compress(BOMB, 9), 9), 400),
        ("deflate", _zip(1, zlib.MAX_WBITS, BOMB), 413),
        ("deflate", _zip(1, -zlib.MAX_WBITS, BOMB), 413),
        ("br", brotli.compress(BOMB, quality=1), 413),
        ("zstd", zstandard.compress(BOMB), 413),
        ("zstd", zstandard.compress(bytes(MIB)) * 30, 413),
        ("zstd", bytes.fromhex("28b52ffd 00 f8") + bytes(64), 400),
        ("gzip", gzip.compress(GOOD)[:-5], 400),
        ("gzip", gzip.compress(GOOD) + b"trailing", 400),
        ("br", brotli.compress(GOOD * 100)[:-3], 400),
        ("zstd", zstandard.compress(GOOD * 100)[:-3], 400),
    ],
    ids=[
        "gzip",
        "gzip members",
        "gzip empty members",
        "gzip in gzip",
        "zlib",
        "deflate",
        "br",
        "zstd",
        "zstd frames",
        "zstd window",
        "gzip cut",
        "gzip trailing",
        "br cut",
        "zstd cut",
    ],
)
async def test_bombs_and_broken_streams(
    world: World, encoding: str, bomb: bytes, status: int
) -> None:
    before = await world.edge.metrics()
    began = time.monotonic()
    given, _ = await world.post(bomb, content_encoding=encoding)
    assert given == status
    assert time.monotonic() - began < 10
    after = await world.edge.metrics()
    name = "process_resident_memory_bytes"
    assert after[name] - before[name] < 100 * MIB
    assert after["argus_ingest_bytes_in_flight"] == 0


async def raw(world: World, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What the server says to these bytes until it ends the connection or has answered.

    Nothing more is sent to a server that has spoken: the kernel's answer to that is a reset, which
    takes away what was not read yet.
    """
    reader, writer = await asyncio.open_connection(HOST, world.edge.port)
    reading = asyncio.create_task(_answer(reader))
    try:
        for piece in pieces:
            if reading.done():
                break
            writer.write(piece)
            await asyncio.sleep(pause)
        async with asyncio.timeout(20):
            return await reading
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except ConnectionResetError:
        return b""


def head(world: World, *lines: str) -> bytes:
    given = (
        "POST /v1/events HTTP/1.1",
        "host: x",
        f"authorization: Bearer {world.acme.server_key}",
        *lines,
        "",
        "",
    )
    return "\r\n".join(given).encode("latin-1")


CHUNKED: Final = "transfer-encoding: chunked"


@pytest.mark.parametrize(
    ("lines", "rest"),
    [
        ((CHUNKED,), b"zz\r\n" + GOOD),
        ((CHUNKED,), b"-1\r\n" + GOOD),
        ((CHUNKED,), b"ffffffffffffffffffffffff\r\n" + GOOD),
        ((CHUNKED,), b"10\r\n" + GOOD + b"no end of the chunk"),
        ((CHUNKED,), b"10;" + b"x" * 100_000 + b"\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        ((CHUNKED, "content-length: 5"), b"10\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (("transfer-encoding: gzip, chunked",), b"10\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (("transfer-encoding: chunked, identity",), b"10\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (("content-length: -1",), GOOD),
        (("content-length: 16", "content-length: 17"), GOOD),
        (("content-length: 1e3",), GOOD),
        (("content-length: 99999999999999999999999",), GOOD),
        (("content-length: 4194304000",), GOOD),
        (("x\x00y: 1", "content-length: 16"), GOOD),
        (("content-length : 16",), GOOD),
        ((" folded: 1", "content-length: 16"), GOOD),
    ],
)
async def test_nonsense_around_a_body_is_no_event_and_no_defect(
    world: World, lines: tuple[str, ...], rest: bytes
) -> None:
    answer = await raw(world, head(world, *lines) + rest)
    status = int(answer.split()[1]) if answer else 0
    assert status == 0 or 200 <= status < 500, answer
    for record in await world.new():
        # Where a lenient reader finds an event, it is the one that was sent, once.
        assert GOOD in record.value or headers.get(record.headers, headers.REJECT)


@pytest.mark.parametrize("size", [1, 7, 4_096])
async def test_chunks_of_any_size_are_a_body(world: World, size: int) -> None:
    body = b"[" + b",".join([GOOD] * 50) + b"]"
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    answer = await raw(
        world, head(world, CHUNKED), *(sent[n : n + 999] for n in range(0, len(sent), 999))
    )
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert len(await world.new()) == 50


@pytest.mark.parametrize("lines", [("content-length: 100000",), (CHUNKED,)])
async def test_bodies_that_trickle_are_ended_and_leave_nothing(
    world: World, lines: tuple[str, ...]
) -> None:
    trickle = b"1\r\n \r\n" if CHUNKED in lines else b" "
    pieces = (head(world, *lines), *[trickle] * 30)
    answers = await asyncio.gather(*(raw(world, *pieces, pause=0.1) for _ in range(50)))
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    assert await world.new() == []
    await eventually(lambda: in_flight(world), lambda held: held == 0)


async def in_flight(world: World) -> float:
    return (await world.edge.metrics())["argus_ingest_bytes_in_flight"]


async def test_clients_that_hang_up_within_their_bodies_leave_nothing(world: World) -> None:
    for _ in range(50):
        _, writer = await asyncio.open_connection(HOST, world.edge.port)
        writer.write(head(world, "content-length: 1000") + GOOD)
        await writer.drain()
        writer.transport.abort()
    await eventually(lambda: in_flight(world), lambda held: held == 0)
    assert await world.new() == []


async def test_garbage_instead_of_http_is_no_defect(world: World) -> None:
    for garbage in (
        secrets.token_bytes(2_000),
        b"\x16\x03\x01\x02\x00" + bytes(500),
        b"GET\r\n\r\n",
    ):
        answer = await raw(world, garbage)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    # Two requests in one piece are two requests.
    both = request(world.acme.server_key, GOOD) + request(world.acme.server_key, b"{")
    reader, writer = await asyncio.open_connection(HOST, world.edge.port)
    writer.write(both)
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 202 ")
        await reader.readuntil(b"HTTP/1.1 400 ")
    writer.transport.abort()


async def test_an_event_of_the_largest_size_and_one_byte_more(world: World) -> None:
    frame = b'{"event":"x","properties":{"a":"%b"}}'
    room = MAX_EVENT - len(frame % b"")
    assert (await world.post(frame % (b"y" * room)))[0] == 202
    assert (await world.post(frame % (b"y" * (room + 1))))[0] == 422
    largest, reject = await world.new()
    assert len(largest.value) > MAX_EVENT
    assert headers.get(reject.headers, headers.REJECT) == b"too_large"
