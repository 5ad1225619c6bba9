"""Every status of the HTTP interface, provoked over the wire on a running process."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import brotli
import httpx
import pytest
import pytest_asyncio
import zstandard
from argus_contract import envelope, headers
from argus_contract.keys import KeyKind, generate
from argus_contract.registry import Bucket
from argus_contract.rejects import Code
from argus_contract.sizes import KEPT_OF_REJECT, MAX_BODY, MAX_EVENT, MAX_EVENTS, MAX_INFLATED

from tests.integration.ingest.conftest import (
    Edge,
    Kafka,
    Tenant,
    open_broker,
    pipeline,
    running_edge,
    tenant,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW = Bucket(0.01, 5)
EVENT = b'{"event":"signup"}'


@dataclass(frozen=True)
class World:
    """One process and tenants of all kinds."""

    broker: Kafka
    edge: Edge
    acme: Tenant
    narrow: Tenant
    """Has no default pipeline, only one for `known`."""
    limited: Tenant
    """Its keys have 5 tokens, each of its addresses too."""
    suspended: Tenant
    expired: Tenant


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(kafka: str) -> AsyncIterator[World]:
    async with open_broker(kafka) as broker:
        acme = tenant(
            pipeline("main", await broker.create()),
            pipeline("clicks", await broker.create(2), partitions=2, match=("click", "tap*")),
        )
        narrow = tenant(pipeline("narrow", await broker.create(), match=("known",)))
        limited = tenant(
            pipeline("main", await broker.create()), per_key=Bucket(0.01, 8), per_ip=SLOW
        )
        suspended = tenant(pipeline("main", acme.topic), suspended=True)
        expired = tenant(pipeline("main", acme.topic), expires=1)
        await broker.publish(acme, narrow, limited, suspended, expired)
        settings = {
            "TRUSTED_PROXIES": '["127.0.0.0/8"]',
            "HTTP__BODY_TIMEOUT": "1",
            "FLOOD__UNAUTHORIZED_COST": "10000",
        }
        async with running_edge(broker, **settings) as edge:
            await edge.until_ready()
            yield World(broker, edge, acme, narrow, limited, suspended, expired)


def is_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The document, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:argus:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


class Tail:
    """What a topic got since the tail was made."""

    def __init__(self, broker: Kafka, topic: str, partitions: int, seen: int) -> None:
        self._broker = broker
        self._topic = topic
        self._partitions = partitions
        self._seen = seen

    async def new(self) -> list[Any]:
        records = await self._broker.records(self._topic, self._partitions)
        return sorted(records, key=lambda record: record.timestamp)[self._seen :]


async def tail(world: World, topic: str, partitions: int = 1) -> Tail:
    seen = len(await world.broker.records(topic, partitions))
    return Tail(world.broker, topic, partitions, seen)


async def test_202_one_event(world: World) -> None:
    topic = await tail(world, world.acme.topic)
    body = b'{"event":"signup","distinct_id":"u1","timestamp":"2026-01-01T00:00:00Z"}'
    answer = await world.edge.post(world.acme.server_key, body)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "rejected": []}
    assert answer.headers["content-type"] == "application/json"
    (record,) = await topic.new()
    decoded = envelope.decode(record.value)
    assert (record.key, decoded.time) == (b"u1", 1_767_225_600_000_000)
    assert body in record.value
    assert headers.get(record.headers, headers.ID) == decoded.id.encode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[{"event":"a"},{"event":"b"}]', "application/json"),
        (b'{"batch":[{"event":"a"},{"event":"b"}]}', "application/json; charset=utf-8"),
        (b'{"event":"a"}\n\n{"event":"b"}\r\n', "application/x-ndjson"),
        (b'[{"event":"a"},{"event":"b"}]', "text/plain;charset=UTF-8"),
    ],
)
async def test_202_many_events(world: World, body: bytes, content_type: str) -> None:
    topic = await tail(world, world.acme.topic)
    answer = await world.edge.post(world.acme.server_key, body, content_type=content_type)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert [envelope.decode(r.value).event.event for r in await topic.new()] == ["a", "b"]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.compress),
        ("identity", bytes),
    ],
)
async def test_202_compressed(world: World, encoding: str, encode: Any) -> None:
    many = b"[" + b",".join([EVENT] * 3_000) + b"]"
    for body, events in ((EVENT, 1), (many, 3_000)):
        answer = await world.edge.post(
            world.acme.server_key, encode(body), content_encoding=encoding
        )
        assert (answer.status_code, answer.json()["accepted"]) == (202, events)


async def test_202_beacon_with_a_public_key_in_the_url(world: World) -> None:
    answer = await world.edge.client.post(
        f"/v1/events?key={world.acme.public_key}",
        content=EVENT,
        headers={"content-type": "text/plain", "origin": "https://example.com"},
    )
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == "https://example.com"


async def test_202_three_bad_events_of_ten(world: World) -> None:
    topic = await tail(world, world.acme.topic)
    bad: dict[int, tuple[dict[str, Any], Code]] = {
        1: ({"event": "page_view"}, Code.INVALID_EVENT),
        4: ({"event": "signup", "user": 1}, Code.UNKNOWN_FIELD),
        8: ({"name": "signup"}, Code.UNKNOWN_FIELD),
    }
    events = [bad[n][0] if n in bad else {"event": f"good-{n}"} for n in range(10)]
    answer = await world.edge.post(world.acme.server_key, json.dumps(events).encode())
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 7
    told = [(one["index"], one["code"]) for one in answer.json()["rejected"]]
    assert told == [(index, code) for index, (_, code) in bad.items()]
    records = await topic.new()
    rejects = [r for r in records if headers.get(r.headers, headers.REJECT)]
    assert (len(records), len(rejects)) == (10, 3)
    for record, (index, (event, code)) in zip(rejects, bad.items(), strict=True):
        assert json.loads(record.value) == event
        assert headers.get(record.headers, headers.REJECT) == code.encode()
        message = answer.json()["rejected"][list(bad).index(index)]["message"]
        assert headers.get(record.headers, headers.ERROR) == message.encode()
        assert headers.get(record.headers, headers.ID)
        assert headers.get(record.headers, headers.RECEIVED)


async def test_202_events_go_to_their_pipelines_and_keys_to_their_partitions(world: World) -> None:
    main, clicks = world.acme.document.pipelines
    topics = await tail(world, main.topic), await tail(world, clicks.topic, 2)
    element = {"element": "#a"}
    events: list[dict[str, Any]] = [
        {"event": "click", "properties": element, "distinct_id": f"user-{n}"} for n in range(20)
    ]
    events += [{"event": "tapped"}, {"event": "signup"}, {"event": "click"}]
    answer = await world.edge.post(world.acme.server_key, json.dumps(events).encode())
    assert (answer.status_code, answer.json()["accepted"]) == (202, 22)
    assert len(await topics[0].new()) == 1
    clicked = await topics[1].new()
    assert len(clicked) == 22
    assert sum(1 for r in clicked if headers.get(r.headers, headers.REJECT)) == 1
    keyed = {record.key: record.partition for record in clicked if record.key}
    for key, partition in keyed.items():
        sent = await world.broker.producer.send_and_wait(clicks.topic, b"{}", key=key)
        assert sent.partition == partition


async def test_202_by_id_where_only_the_id_tells_a_duplicate(world: World) -> None:
    topic = await tail(world, world.acme.topic)
    given = "11111111-2222-4333-8444-555555555555"
    await world.edge.post(world.acme.server_key, json.dumps({"event": "x", "id": given}).encode())
    (record,) = await topic.new()
    assert headers.get(record.headers, headers.ID) == given.encode()
    assert headers.get(record.headers, headers.BY_ID) == b"1"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"[1,2", b'{"event":"x","value":NaN}', b"\xff" * 70_000]
)
async def test_400_not_json_leaves_one_reject(world: World, body: bytes) -> None:
    topic = await tail(world, world.acme.topic)
    document = is_problem(await world.edge.post(world.acme.server_key, body), 400, "malformed-body")
    assert document["rejected"][0]["code"] == "invalid_json"
    (record,) = await topic.new()
    assert record.value == body[:KEPT_OF_REJECT]
    assert headers.get(record.headers, headers.REJECT) == b"invalid_json"
    cut = headers.get(record.headers, headers.TRUNCATED)
    assert cut == (b"%d" % len(body) if len(body) > KEPT_OF_REJECT else None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_400_a_body_that_does_not_inflate(world: World, encoding: str) -> None:
    topic = await tail(world, world.acme.topic)
    answer = await world.edge.post(
        world.acme.server_key, b"\x00nonsense", content_encoding=encoding
    )
    is_problem(answer, 400, "malformed-body")
    (record,) = await topic.new()
    assert record.value == b"\x00nonsense"


async def test_401_unknown_key(world: World) -> None:
    for key in (None, generate(KeyKind.SERVER), "nonsense"):
        answer = await world.edge.post(key, EVENT, x_forwarded_for="203.0.113.1")
        is_problem(answer, 401, "unknown-key")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_401_is_charged_to_the_address_which_is_soon_flooded(world: World) -> None:
    statuses = []
    for _ in range(8):
        answer = await world.edge.post("nonsense", EVENT, x_forwarded_for="203.0.113.2")
        statuses.append(answer.status_code)
    assert statuses[0] == 401
    document = is_problem(answer, 429, "flooded")
    assert document
    assert int(answer.headers["retry-after"]) >= 1
    other = await world.edge.post(world.acme.server_key, EVENT, x_forwarded_for="203.0.113.3")
    assert other.status_code == 202


async def test_403_suspended(world: World) -> None:
    is_problem(await world.edge.post(world.suspended.server_key, EVENT), 403, "tenant-suspended")


async def test_403_expired(world: World) -> None:
    is_problem(await world.edge.post(world.expired.server_key, EVENT), 403, "key-expired")


async def test_403_a_server_key_in_a_browser_or_a_url(world: World) -> None:
    origin = {"origin": "https://example.com"}
    answer = await world.edge.post(world.acme.server_key, EVENT, **origin)
    is_problem(answer, 403, "wrong-scope")
    answer = await world.edge.client.post(f"/v1/events?key={world.acme.server_key}", content=EVENT)
    is_problem(answer, 403, "wrong-scope")


async def test_404_and_405(world: World) -> None:
    client = world.edge.client
    is_problem(await client.get("/v1/nothing"), 404, "not-found")
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.request(method, "/v1/events")
        is_problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST, OPTIONS"
    is_problem(await client.post("/"), 405, "method-not-allowed")


async def test_408_slow_body(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.edge.port)
    head = f"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.acme.server_key}"
    writer.write(f"{head}\r\ncontent-length: 100000\r\n\r\n".encode())
    for _ in range(5):
        writer.write(b" ")
        await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert b"urn:argus:problem:slow-body" in answer


async def test_413_announced_too_large(world: World) -> None:
    answer = await world.edge.post(world.acme.server_key, bytes(MAX_BODY + 1))
    assert is_problem(answer, 413, "body-too-large")["limit"] == MAX_BODY


async def test_413_too_large_without_announcement(world: World) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 65_536 + 1):
            yield bytes(65_536)

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    answer = await world.edge.client.post(
        "/v1/events",
        content=body(),
        headers={"authorization": f"Bearer {world.acme.server_key}"},
    )
    is_problem(answer, 413, "body-too-large")


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", partial(gzip.compress, compresslevel=1)),
        ("deflate", partial(zlib.compress, level=1)),
        ("br", partial(brotli.compress, quality=1)),
        ("zstd", zstandard.compress),
    ],
)
async def test_413_bombs(world: World, encoding: str, encode: Any) -> None:
    bomb = encode(bytes(10 * MAX_INFLATED))
    answer = await world.edge.post(world.acme.server_key, bomb, content_encoding=encoding)
    assert is_problem(answer, 413, "body-too-large")["limit"] == MAX_INFLATED


async def test_413_too_many_events(world: World) -> None:
    events = b"[" + b",".join([EVENT] * (MAX_EVENTS + 1)) + b"]"
    answer = await world.edge.post(world.acme.server_key, events)
    assert is_problem(answer, 413, "too-many-events")["limit"] == MAX_EVENTS
    lines = b"\n".join([EVENT] * (MAX_EVENTS + 1))
    answer = await world.edge.post(
        world.acme.server_key, lines, content_type="application/x-ndjson"
    )
    is_problem(answer, 413, "too-many-events")


async def test_413_more_than_the_rate_limit_can_ever_admit(world: World) -> None:
    events = b"[" + b",".join([EVENT] * 9) + b"]"
    document = is_problem(
        await world.edge.post(world.limited.server_key, events), 413, "above-burst"
    )
    assert (document["limit"], document["bucket"]) == (8, "key")


async def test_415_type_and_encoding(world: World) -> None:
    key = world.acme.server_key
    answer = await world.edge.post(key, EVENT, content_type="application/x-protobuf")
    is_problem(answer, 415, "unsupported-media-type")
    assert "application/x-ndjson" in answer.headers["accept"]
    for encoding in ("compress", "gzip, br"):
        answer = await world.edge.post(key, EVENT, content_encoding=encoding)
        is_problem(answer, 415, "unsupported-encoding")
        assert answer.headers["accept-encoding"] == "gzip, deflate, br, zstd"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "invalid_event"),
        (b"42", "invalid_event"),
        (b'[{"event":"x","bogus":1}]', "unknown_field"),
        (b'{"event":"\\ud800"}', "unstorable"),
        (b'{"event":"x","properties":{"a":' + b"[" * 200 + b"]" * 200 + b"}}", "too_deep"),
        (b'{"event":"x","properties":{"a":' + b"[" * 9_999 + b"]" * 9_999 + b"}}", "too_deep"),
        (b'{"event":"x","properties":{"a":"' + b"y" * 1_000_000 + b'"}}', "too_large"),
    ],
)
async def test_422_nothing_in_it_was_an_event(world: World, body: bytes, code: str) -> None:
    topic = await tail(world, world.acme.topic)
    document = is_problem(
        await world.edge.post(world.acme.server_key, body), 422, "nothing-accepted"
    )
    assert (document["accepted"], document["rejected"][0]["code"]) == (0, code)
    (record,) = await topic.new()
    assert headers.get(record.headers, headers.REJECT) == code.encode()
    if len(body) > MAX_EVENT:
        assert record.value == body[:KEPT_OF_REJECT]
        assert headers.get(record.headers, headers.TRUNCATED) == b"%d" % len(body)


async def test_422_no_event_at_all(world: World) -> None:
    for body in (b"[]", b'{"batch":[]}'):
        document = is_problem(
            await world.edge.post(world.acme.server_key, body), 422, "nothing-accepted"
        )
        assert document["rejected"] == []


async def test_422_no_pipeline_publishes_nothing(world: World) -> None:
    key = world.narrow.server_key
    assert (await world.edge.post(key, b'{"event":"known"}')).status_code == 202
    topic = await tail(world, world.narrow.topic)
    for body in (b'[{"event":"known"},{"event":"other"}]', b'[{"event":"known"},{}]'):
        is_problem(await world.edge.post(key, body), 422, "no-pipeline")
    is_problem(await world.edge.post(key, b"{"), 400, "malformed-body")
    assert await topic.new() == []


async def test_429_by_key_costs_events_and_refuses_all_or_nothing(world: World) -> None:
    key = world.limited.server_key
    five = b"[" + b",".join([EVENT] * 5) + b"]"
    first = await world.edge.post(key, five)
    assert first.status_code == 202
    assert first.headers["ratelimit-policy"] == '"key";q=8;w=800'
    assert first.headers["ratelimit"] == '"key";r=3'
    refused = await world.edge.post(key, five)
    document = is_problem(refused, 429, "rate-limited")
    assert document["bucket"] == "key"
    assert 190 <= int(refused.headers["retry-after"]) <= 200
    assert refused.headers["ratelimit"].startswith('"key";r=3;t=')
    three = b"[" + b",".join([EVENT] * 3) + b"]"
    assert (await world.edge.post(key, three)).status_code == 202
    assert (await world.edge.post(key, b"{")).status_code == 429


async def test_429_by_address_and_two_addresses_are_two_buckets(world: World) -> None:
    key = world.limited.public_key
    statuses = []
    for _ in range(6):
        answer = await world.edge.post(key, EVENT, x_forwarded_for="198.51.100.1")
        statuses.append(answer.status_code)
    assert statuses == [202] * 5 + [429]
    assert is_problem(answer, 429, "rate-limited")["bucket"] == "ip"
    assert answer.headers["ratelimit-policy"] == '"key";q=8;w=800, "ip";q=5;w=500'
    other = await world.edge.post(key, EVENT, x_forwarded_for="198.51.100.2")
    assert other.status_code == 202


async def test_options_answers_browsers(world: World) -> None:
    answer = await world.edge.client.options(
        "/v1/events",
        headers={
            "origin": "https://example.com",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["vary"] == "origin"
    assert answer.content == b""


async def test_a_page_can_read_problems_too(world: World) -> None:
    origin = {"origin": "https://example.com"}
    answer = await world.edge.post(world.acme.public_key, b"{}", **origin)
    assert answer.status_code == 422
    assert answer.headers["access-control-allow-origin"] == "https://example.com"
    assert "retry-after" in answer.headers["access-control-expose-headers"]


async def test_the_documentation_knows_the_hot_route(world: World) -> None:
    client = world.edge.client
    assert (await client.get("/")).json()["events"] == "/v1/events"
    page = (await client.get("/docs")).text
    assert "//" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', page)), "needs the Internet"
    (script,) = re.findall(r'<script src="([^"]*)"', page)
    assert (await client.get(script)).status_code == 200
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/v1/events"]["post"]["responses"]
    assert {"202", "400", "401", "403", "413", "415", "422", "429", "503"} <= responses.keys()
    assert "Event" in document["components"]["schemas"]


async def test_no_server_or_date_header_and_connections_are_kept(world: World) -> None:
    answer = await world.edge.post(world.acme.server_key, EVENT)
    assert answer.headers.keys().isdisjoint({"server", "date", "connection"})


async def test_metrics_count_what_clients_saw(world: World) -> None:
    display = world.narrow.document.display
    before = await world.edge.metrics()
    await world.edge.post(world.narrow.server_key, b'[{"event":"known"},{"event":"known","x":1}]')
    after = await world.edge.metrics()

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0)

    labels = f'pipeline="narrow",tenant="{display}"'
    assert gained(f"argus_ingest_events_accepted_total{{{labels}}}") == 1
    assert (
        gained(f'argus_ingest_events_rejected_total{{code="unknown_field",tenant="{display}"}}')
        == 1
    )
    assert gained(f'argus_ingest_requests_total{{status="202",tenant="{display}"}}') == 1
    assert after["argus_ingest_bytes_in_flight"] == 0
