"""One request's way, with every engine a fake: what only shows inside the process."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from argus_contract import headers, names
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.registry import Bucket, Key, Limits, TenantDocument
from argus_ingest.address import AddressResolver
from argus_ingest.authenticate import Authenticator
from argus_ingest.buckets import LocalBuckets
from argus_ingest.budget import Account, Budget
from argus_ingest.deadlines import Deadlines
from argus_ingest.decode import slices
from argus_ingest.denials import Denials
from argus_ingest.endpoint import EventsEndpoint, Steps
from argus_ingest.exchange import Exchange
from argus_ingest.flood import FloodGuard
from argus_ingest.limit import Limiter
from argus_ingest.pressure import Pressure
from argus_ingest.publish import LogError, Publisher
from argus_ingest.read import BodyReader
from argus_ingest.settings import LimitSettings, PressureSettings
from argus_ingest.tenants import Directory
from prometheus_client import REGISTRY

from tests.unit.ingest.helpers import (
    PLENTY,
    PUBLIC_KEY,
    SERVER_KEY,
    FakeBuckets,
    FakeConnection,
    FakeLog,
    FakeWatcher,
    document,
)

OTHER_KEY = generate(KeyKind.SERVER)
EVENT = b'{"event":"signup","properties":{"plan":"pro"}}'
MIB = 1 << 20


class Edge:
    """An endpoint on fakes."""

    def __init__(self, limits: LimitSettings, *tenants: TenantDocument) -> None:
        tenants = tenants or (document(),)
        self.log = FakeLog(room=600)
        self.budget = Budget(limits.bytes_in_flight, limits.tenant_share)
        self.limiter = Limiter(
            FakeBuckets(),
            LocalBuckets(100, 1.0),
            timeout=5.0,
            calm=5.0,
            pace=0.0,
            retry=1.0,
            on_switch=list,
        )
        self.publisher = Publisher(self.log, self.budget, delivery_timeout=5.0, batches_in_flight=1)
        self.pressure = Pressure(FakeWatcher(), PressureSettings(), 1)
        self.deadlines = Deadlines(5.0)
        self.directory = Directory()
        self.learn(*tenants)
        self.endpoint = EventsEndpoint(
            Steps(
                addresses=AddressResolver([]),
                guard=FloodGuard(Bucket(1e6, 1e6), 1.0, 100),
                authenticator=Authenticator(self.directory),
                reader=BodyReader(limits, self.deadlines),
                denials=Denials(100),
                budget=self.budget,
                limiter=self.limiter,
                pressure=self.pressure,
                publisher=self.publisher,
                max_events=limits.events,
            )
        )

    def learn(self, *tenants: TenantDocument) -> None:
        """Takes a snapshot of the registry."""
        documents = {tenant.id: tenant for tenant in tenants}
        self.directory.update(documents)
        self.pressure.update(documents)

    async def post(
        self, *pieces: bytes, then: str = "end", **headers: str
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the answer; 0 where there was none.

        The body comes in pieces, a turn of the loop each, and then ends, or the client hangs up
        (`gone`), or neither (`open`).
        """
        named = {"authorization": f"Bearer {SERVER_KEY}", **headers}
        fields = [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()]
        client = FakeConnection()
        exchange = Exchange(client, "POST", b"", fields, keep_alive=True)
        answering = asyncio.create_task(self.endpoint(exchange))
        try:
            for piece in pieces:
                await asyncio.sleep(0)
                exchange.feed(piece)
            if then != "open":
                {"end": exchange.end, "gone": exchange.hang_up}[then]()
            await answering
        finally:
            answering.cancel()
        assert client.ended is (None if then == "gone" else not exchange.keep_alive)
        return client.answer()

    async def send(self, *pieces: bytes, **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
        """Posts a body in pieces."""
        return await self.post(*pieces, **headers)


@asynccontextmanager
async def running(*tenants: TenantDocument, **limits: int) -> AsyncIterator[Edge]:
    edge = Edge(LimitSettings(**limits), *tenants)
    works = (edge.limiter, edge.publisher, edge.pressure, edge.deadlines)
    tasks = [asyncio.create_task(work.run()) for work in works]
    await asyncio.sleep(0.01)
    try:
        yield edge
        await edge.publisher.flush()
        assert edge.budget.used == 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_request_in_chunks() -> None:
    async with running() as edge:
        status, _, body = await edge.send(EVENT[:5], b"", EVENT[5:])
    assert (status, json.loads(body)) == (202, {"accepted": 1, "rejected": []})


async def test_a_client_that_hangs_up_within_its_body_leaves_nothing() -> None:
    async with running() as edge:
        assert await edge.post(EVENT, then="gone") == (0, {}, b"")
        assert edge.budget.used == 0
    assert edge.log.records == []


@pytest.mark.parametrize("after", [0.0, 0.005, 0.02])
async def test_a_request_cancelled_anywhere_leaves_nothing(after: float) -> None:
    async with running() as edge:
        edge.log.gate.clear()
        waiting = [
            asyncio.create_task(edge.post(EVENT[:5], then="open")),
            asyncio.create_task(edge.send(EVENT)),
            asyncio.create_task(edge.send(b"[" + b",".join([EVENT] * 5_000) + b"]")),
        ]
        await asyncio.sleep(after)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        edge.log.gate.set()


@pytest.mark.interpreted
async def test_a_defect_is_an_answer_and_does_not_spread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as edge:
        with monkeypatch.context() as patch:
            patch.setattr("argus_ingest.endpoint.Routing.add", lambda *_: 1 / 0)
            status, headers, body = await edge.send(EVENT)
        assert status == 500
        assert headers[b"content-type"] == b"application/problem+json"
        assert json.loads(body)["type"] == "urn:argus:problem:internal-error"
        assert "ZeroDivisionError" in caplog.text
        assert (await edge.send(EVENT))[0] == 202


async def test_busy_is_503_and_passes() -> None:
    limits = {"body_bytes": 1_000, "inflated_bytes": 1_000, "events": 10}
    limits["bytes_in_flight"] = 50_000
    async with running(**limits) as edge:
        edge.log.gate.clear()
        large = b'{"event":"x","properties":{"a":"' + b"y" * 900 + b'"}}'
        waiting = [asyncio.create_task(edge.send(large)) for _ in range(3)]
        await asyncio.sleep(0.02)
        status, headers, body = await edge.send(large)
        assert (status, json.loads(body)["type"]) == (503, "urn:argus:problem:busy")
        assert headers[b"retry-after"] == b"1"
        edge.log.gate.set()
        statuses = [status for status, _, _ in await asyncio.gather(*waiting)]
        assert 202 in statuses
        await edge.publisher.flush()
        assert (await edge.send(large))[0] == 202


TIGHT = Limits(per_key=Bucket(0.5, 4), per_ip=Bucket(0.5, 100))


@pytest.mark.parametrize("key", [SERVER_KEY, PUBLIC_KEY])
async def test_over_an_empty_bucket_the_answer_is_the_same_but_the_body_is_not_read(
    key: str,
) -> None:
    authorization = f"Bearer {key}"
    async with running(document(limits=TIGHT)) as edge:
        buckets = edge.limiter._shared
        assert isinstance(buckets, FakeBuckets)
        for _ in range(4):
            assert (await edge.send(EVENT, authorization=authorization))[0] == 202
        refused = await edge.send(EVENT, authorization=authorization)
        calls = len(buckets.calls)
        early = await edge.post(then="open", authorization=authorization)
        assert len(buckets.calls) == calls
    assert (refused[0], early[0]) == (429, 429)
    assert early[1][b"retry-after"] == refused[1][b"retry-after"] == b"2"
    assert early[1][b"ratelimit-policy"] == refused[1][b"ratelimit-policy"]
    # What an address has left is not known where it was not asked for.
    assert refused[1][b"ratelimit"].split(b", ")[0] == early[1][b"ratelimit"] == b'"key";r=0;t=2'
    assert json.loads(early[2]) == json.loads(refused[2])


async def test_an_empty_bucket_of_an_address_is_refused_early_with_both_buckets_named() -> None:
    limits = Limits(per_key=Bucket(0.5, 100), per_ip=Bucket(0.5, 2))
    public = {"authorization": f"Bearer {PUBLIC_KEY}"}
    async with running(document(limits=limits)) as edge:
        for _ in range(2):
            assert (await edge.send(EVENT, **public))[0] == 202
        refused = await edge.send(EVENT, **public)
        early = await edge.post(then="open", **public)
        assert early == refused
        assert refused[1][b"ratelimit"] == b'"key";r=98;t=2, "ip";r=0;t=2'
        assert json.loads(refused[2])["bucket"] == "ip"
        assert (await edge.send(EVENT))[0] == 202


QUOTA = Limits(per_key=PLENTY, per_ip=PLENTY, daily=5, monthly=8)


def several(events: int) -> bytes:
    return b"[" + b",".join([EVENT] * events) + b"]"


async def test_a_request_with_more_events_than_are_left_is_refused_whole() -> None:
    async with running(document(limits=QUOTA)) as edge:
        assert (await edge.send(several(3)))[0] == 202
        status, headers, body = await edge.send(several(3))
        assert (status, json.loads(body)["quota"]) == (429, "day")
        assert headers[b"ratelimit"].startswith(b'"day";r=2;t=')
        assert (await edge.send(several(2)))[0] == 202
        assert len(edge.log.records) == 5
        spent = await edge.send(EVENT)
        early = await edge.post(then="open")
    assert (spent[0], early[0]) == (429, 429)
    assert json.loads(early[2]) == json.loads(spent[2])
    assert abs(int(early[1][b"retry-after"]) - int(spent[1][b"retry-after"])) <= 1


async def test_a_body_that_is_no_json_counts_as_one_event() -> None:
    async with running(document(limits=Limits(PLENTY, PLENTY, daily=2))) as edge:
        assert [(await edge.send(b"{"))[0] for _ in range(3)] == [400, 400, 429]


def counted(metric: str, bucket: str) -> float:
    labels = {"tenant": "ns/acme", "bucket": bucket}
    return REGISTRY.get_sample_value(f"argus_ingest_{metric}_total", labels) or 0


async def held(
    edge: Edge, requests: int
) -> list[asyncio.Task[tuple[int, dict[bytes, bytes], bytes]]]:
    """So many requests in work: Kafka acknowledges none of them."""
    edge.log.gate.clear()
    waiting = [asyncio.create_task(edge.send(EVENT)) for _ in range(requests)]
    await asyncio.sleep(0.02)
    return waiting


CROWDED = Limits(per_key=PLENTY, per_ip=PLENTY, concurrency=3)


async def test_one_request_more_than_the_concurrency_is_refused_before_its_body() -> None:
    async with running(document(limits=CROWDED)) as edge:
        waiting = await held(edge, 3)
        before = counted("limited", "concurrency")
        status, headers, body = await edge.post(then="open")
        assert (status, headers[b"retry-after"]) == (429, b"1")
        problem = json.loads(body)
        assert problem["type"] == "urn:argus:problem:too-many-requests-in-flight"
        assert problem["limit"] == 3
        assert counted("limited", "concurrency") == before + 1
        edge.log.gate.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [202] * 3
        assert (await edge.send(EVENT))[0] == 202


async def test_however_a_request_ends_its_place_is_free_again() -> None:
    async with running(document(limits=CROWDED)) as edge:
        account = edge.directory.accesses[hash_key(SERVER_KEY)].tenant.account
        await edge.send(b"{")
        await edge.post(EVENT[:5], then="gone")
        await edge.send(EVENT, content_type="image/png")
        open_one = asyncio.create_task(edge.post(EVENT[:5], then="open"))
        await asyncio.sleep(0.01)
        assert account.requests == 1
        open_one.cancel()
        await asyncio.gather(open_one, return_exceptions=True)
        assert account.requests == 0


async def test_busy_takes_no_place() -> None:
    async with running(document(limits=CROWDED)) as edge:
        account = edge.directory.accesses[hash_key(SERVER_KEY)].tenant.account
        for _ in range(20):
            edge.budget.take(Account(), edge.budget.free // 2)
        assert (await edge.send(EVENT))[0] == 503
        assert account.requests == 0
        edge.budget.used = 0


OBSERVED = Limits(
    per_key=Bucket(0.001, 4), per_ip=Bucket(0.001, 100), daily=6, concurrency=2, observe=True
)


async def test_limits_that_are_observed_refuse_nothing_and_count_what_they_would_have() -> None:
    async with running(document(limits=OBSERVED)) as edge:
        before = {name: counted("would_limit", name) for name in ("key", "day", "concurrency")}
        refused = counted("limited", "key")
        assert (await edge.send(several(3)))[0] == 202
        status, headers, _ = await edge.send(several(2))
        assert (status, headers[b"ratelimit"]) == (202, b'"key";r=1')
        status, headers, _ = await edge.send(several(9))
        assert (status, headers[b"ratelimit"]) == (202, b'"day";r=3')
        # What passed beside the limits has spent nothing of them.
        status, headers, _ = await edge.send(EVENT)
        assert (status, headers[b"ratelimit"]) == (202, b'"key";r=0')
        assert [(await edge.send(EVENT))[0] for _ in range(2)] == [202, 202]
        waiting = await held(edge, 4)
        edge.log.gate.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [202] * 4
        after = {name: counted("would_limit", name) - count for name, count in before.items()}
        # Two events of six, and one by one: each of the others had no token.
        assert after == {"key": 7, "day": 1, "concurrency": 2}
        assert counted("limited", "key") == refused
        assert len(edge.log.records) == 3 + 2 + 9 + 3 + 4


async def test_above_the_burst_is_counted_by_the_bucket_where_limits_are_observed() -> None:
    limits = Limits(per_key=Bucket(1, 4), per_ip=PLENTY, observe=True)
    async with running(document(limits=limits)) as edge:
        before = counted("would_limit", "key")
        assert (await edge.send(several(5)))[0] == 202
        assert counted("would_limit", "key") == before + 1


async def test_enforced_again_it_refuses_at_once() -> None:
    async with running(document(limits=OBSERVED)) as edge:
        assert [(await edge.send(EVENT))[0] for _ in range(6)] == [202] * 6
        edge.learn(document(limits=TIGHT))
        assert (await edge.send(EVENT))[0] == 429


async def test_a_key_is_used_where_the_buckets_were_asked_whatever_they_said() -> None:
    async with running(document(limits=TIGHT)) as edge:
        server, public = (
            edge.directory.accesses[hash_key(key)].use for key in (SERVER_KEY, PUBLIC_KEY)
        )
        began = time.time_ns() // 1_000
        await edge.send(EVENT)
        first = server.last
        assert began <= first <= time.time_ns() // 1_000
        assert [(await edge.send(EVENT))[0] for _ in range(4)] == [202, 202, 202, 429]
        assert server.last > first
        assert public.last == 0


async def test_a_raised_limit_and_a_revoked_key_count_at_once() -> None:
    async with running(document(limits=TIGHT)) as edge:
        statuses = [(await edge.send(EVENT))[0] for _ in range(6)]
        assert statuses == [202] * 4 + [429] * 2
        edge.learn(document(limits=Limits(per_key=Bucket(0.5, 5), per_ip=Bucket(0.5, 100))))
        assert [(await edge.send(EVENT))[0] for _ in range(2)] == [202, 429]
        edge.learn(document(limits=TIGHT, keys=()))
        assert (await edge.post(then="open"))[0] == 401


@pytest.mark.interpreted
async def test_what_the_buckets_refuse_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(*_: object) -> None:
        raise AssertionError("an event was looked at")

    three = b"[" + b",".join([EVENT] * 3) + b"]"
    async with running(document(limits=TIGHT)) as edge:
        assert (await edge.send(three))[0] == 202
        monkeypatch.setattr("argus_ingest.decode.judge", judged)
        assert (await edge.send(three))[0] == 429
        monkeypatch.undo()
        assert (await edge.send(EVENT))[0] == 202


async def test_an_item_that_is_no_json_makes_the_body_no_json_and_costs_what_it_cost() -> None:
    body = b'[{"event":"a"},{"event":"\xff"},{"event":"c"}]'
    async with running(document(limits=TIGHT)) as edge:
        status, _, answer = await edge.send(body)
        assert (status, json.loads(answer)["rejected"][0]["code"]) == (400, "invalid_json")
        assert [(await edge.send(EVENT))[0] for _ in range(2)] == [202, 429]
        assert [headers.get(r.headers, headers.REJECT) for r in edge.log.records] == [
            b"invalid_json",
            None,
        ]


async def test_one_tenant_that_holds_its_share_is_busy_alone() -> None:
    other = document(
        id=names.tenant_id("ns", "other", "4567cdef"),
        name="other",
        keys=(Key(hash_key(OTHER_KEY), "server", KeyKind.SERVER),),
    )
    limits = {"body_bytes": 1_000, "inflated_bytes": 1_000, "events": 10}
    async with running(document(), other, bytes_in_flight=400_000, **limits) as edge:
        edge.log.gate.clear()
        waiting = [asyncio.create_task(edge.send(EVENT)) for _ in range(20)]
        await asyncio.sleep(0.02)
        held = edge.budget.used
        assert 180_000 < held <= 200_000
        refused = [task.result()[0] for task in waiting if task.done()]
        assert refused == [503] * len(refused) != []
        before = unavailable("ns/other")
        quiet = asyncio.create_task(edge.send(EVENT, authorization=f"Bearer {OTHER_KEY}"))
        await asyncio.sleep(0.02)
        assert edge.budget.used > held
        edge.log.gate.set()
        assert (await quiet)[0] == 202
        await asyncio.gather(*waiting)
        assert unavailable("ns/other") == before == 0


def unavailable(tenant: str, reason: str = "busy") -> float:
    labels = {"tenant": tenant, "reason": reason}
    return REGISTRY.get_sample_value("argus_ingest_unavailable_total", labels) or 0


@pytest.mark.parametrize("reason", ["registry-incomplete", "backlog", "log-unavailable", "busy"])
async def test_each_503_is_counted_by_its_reason(reason: str) -> None:
    async with running() as edge:
        tenant = "ns/acme"
        match reason:
            case "registry-incomplete":
                edge.directory.complete = False
                tenant = ""
            case "backlog":
                edge.pressure.update({})
            case "log-unavailable":
                edge.log.fault = LogError("gone")
            case "busy":
                for _ in range(20):
                    edge.budget.take(Account(), edge.budget.free // 2)
        before = unavailable(tenant, reason)
        status, given, body = await edge.send(EVENT)
        assert (status, json.loads(body)["type"]) == (503, f"urn:argus:problem:{reason}")
        assert int(given[b"retry-after"]) >= 1
        assert unavailable(tenant, reason) == before + 1
        edge.budget.used = 0


async def test_while_draining_every_answer_ends_its_connection() -> None:
    async with running() as edge:
        assert b"connection" not in (await edge.send(EVENT))[1]
        edge.endpoint.draining = True
        assert (await edge.send(EVENT))[1][b"connection"] == b"close"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" + b",".join([EVENT] * 5_000) + b"]", {}),
        (b"\n".join([EVENT] * 5_000), {"content_type": "application/x-ndjson"}),
        (b"[" + b",".join([b"{}"] * 5_000) + b"]", {}),
        (b"[" + b",".join([b'{"event":"x","a":1}'] * 5_000) + b"]", {}),
        (
            gzip.compress(
                b"["
                + b",".join([b'{"event":"x","properties":{"a":"' + b"y" * 200_000 + b'"}}'] * 100)
                + b"]",
                1,
            ),
            {"content_encoding": "gzip"},
        ),
        (
            gzip.compress(
                b"["
                + b",".join([b'{"event":"x","properties":{"a":[' + b"[]," * 999 + b"1]}}"] * 4_000)
                + b"]",
                1,
            ),
            {"content_encoding": "gzip"},
        ),
        (b"[" + b"[" * 4 * MIB, {}),
        (b'["\\ud800"' + b',"a"' * 90_000 + b"]", {}),
        (gzip.compress(bytes(100 * MIB), 1), {"content_encoding": "gzip"}),
    ],
    ids=["array", "lines", "rejects", "unknown", "large", "brackets", "deep", "halves", "bomb"],
)
async def test_no_request_holds_the_loop(body: bytes, headers: dict[str, str]) -> None:
    """Measured in the process's own CPU time, so that a busy machine does not matter."""
    longest = 0.0
    async with running() as edge:

        async def others() -> None:
            nonlocal longest
            while True:
                began = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - began)

        watching = asyncio.create_task(others())
        status, _, _ = await edge.send(body, **headers)
        watching.cancel()
    assert status in (202, 400, 413, 422)
    assert longest < 0.25


def test_slices_cover_everything_and_shrink_with_the_size_of_items() -> None:
    assert list(slices(0, 0)) == [range(0)]
    assert list(slices(1, 10 * MIB)) == [range(1)]
    assert list(slices(600, 6_000)) == [range(250), range(250, 500), range(500, 600)]
    portions = list(slices(100, 20 * MIB))
    assert len(portions) == 100
