"""Tenants, requests and fakes for the edge's unit tests."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from argus_contract import names, quotas
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.names import TopicName
from argus_contract.quotas import Usage
from argus_contract.records import Record
from argus_contract.registry import Bucket, Key, Limits, Pipeline, TenantDocument
from argus_ingest.backlog import PartitionState, Question
from argus_ingest.buckets import DAY, MONTH, Check, LocalBuckets, Quota, Verdict
from argus_ingest.limit import BucketsAwayError
from argus_ingest.publish import LogError

NOW = 1_800_000_000_000_000
"""Microseconds since the epoch: 2027-01-15T08:00:00Z."""
PLENTY = Bucket(1e6, 1e6)


def pipeline(name: str = "main", *, match: tuple[str, ...] = (), **changes: Any) -> Pipeline:
    """A pipeline with one partition and a window of 30 days."""
    values: dict[str, Any] = {
        "uid": secrets.token_hex(4),
        "name": name,
        "topic": TopicName(f"topic.{name}"),
        "dead_letter_topic": TopicName(f"topic.{name}.dead"),
        "partitions": 1,
        "schema": "t",
        "table": "events",
        "window": 30 * 86_400,
        "dedupe_window": 86_400,
        "retention_bytes": 1 << 30,
        "retention_seconds": 7 * 86_400,
        "match": match,
    }
    return Pipeline(**values | changes)


SERVER_KEY = generate(KeyKind.SERVER)
PUBLIC_KEY = generate(KeyKind.PUBLIC)


def document(*pipelines: Pipeline, **changes: Any) -> TenantDocument:
    """A tenant with one key of each kind and plentiful limits."""
    values: dict[str, Any] = {
        "id": names.tenant_id("ns", "acme", "0123abcd"),
        "namespace": "ns",
        "name": "acme",
        "revision": 1,
        "limits": Limits(per_key=PLENTY, per_ip=PLENTY),
        "keys": (
            Key(hash_key(SERVER_KEY), "server", KeyKind.SERVER),
            Key(hash_key(PUBLIC_KEY), "public", KeyKind.PUBLIC),
        ),
        "pipelines": pipelines or (pipeline(),),
    }
    return TenantDocument(**values | changes)


class FakeBatch:
    """A batch that takes so many records."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.records: list[Record] = []

    def extend(self, records: Sequence[Record]) -> int:
        taken = records[: self.room - len(self.records)]
        self.records += taken
        return len(taken)


class FakeLog:
    """A log in memory; `gate` holds acknowledgements back, `fault` makes sends fail."""

    def __init__(self, *, room: int = 1_000) -> None:
        self.connected_once = True
        self.room = room
        self.sent: list[tuple[str, int, list[Record]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: LogError | None = None
        self.under_way = 0
        self.most_under_way = 0

    def batch(self) -> FakeBatch:
        return FakeBatch(self.room)

    def partition(self, key: bytes, partitions: int) -> int:
        return sum(key) % partitions

    async def send(self, batch: Any, topic: str, partition: int) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if self.fault is not None:
                raise self.fault
            self.sent.append((topic, partition, batch.records))
        finally:
            self.under_way -= 1

    @property
    def records(self) -> list[Record]:
        return [record for _, _, records in self.sent for record in records]


class ScriptModel:
    """`lua/token_bucket.lua` in Python: local buckets behind quotas."""

    def __init__(self) -> None:
        self._local = LocalBuckets(1_000, 1.0)
        self.usages: dict[str, Usage] = {}

    def usage(self, quota: Quota, now: int) -> Usage:
        """What counts at `now`, in microseconds since the epoch."""
        return self.usages.get(quota.usage, Usage.none(now)).at(now)

    def judge(self, check: Check, now: int) -> Verdict:
        """Spends from everything or from nothing."""
        quota = check.quota
        if quota is None:
            return self._local.judge(check, now)
        usage = self.usage(quota, now)
        verdict = _quota_verdict(quota, usage, check.cost, now)
        if verdict is None:
            verdict = self._local.judge(check, now)
        if not verdict.refused:
            self.usages[quota.usage] = usage._replace(
                daily=usage.daily + check.cost, monthly=usage.monthly + check.cost
            )
        return verdict


def _quota_verdict(quota: Quota, usage: Usage, events: int, now: int) -> Verdict | None:
    periods = (
        (DAY, quota.daily, usage.daily, quotas.day_ends(usage.day)),
        (MONTH, quota.monthly, usage.monthly, quotas.month_ends(usage.month)),
    )
    refusing = [one for one in periods if one[1] and one[2] + events > one[1]]
    if not refusing:
        return None
    waits = [ends - now for _, _, _, ends in refusing]
    lefts = [max(0, limit - used) for _, limit, used, _ in refusing]
    empty = [wait for wait, left in zip(waits, lefts, strict=True) if left == 0]
    refused = sum(bit for bit, _, _, _ in refusing)
    return Verdict(refused, waits[-1], max(empty, default=0), 0, lefts[-1])


class FakeBuckets:
    """Shared buckets in memory; `delay` in seconds, `away` makes them fail."""

    def __init__(self) -> None:
        self.model = ScriptModel()
        self.away = False
        self.delay = 0.0
        self.calls: list[int] = []
        self.now = NOW

    async def connect(self) -> None:
        if self.away:
            raise BucketsAwayError("away")

    async def close(self) -> None:
        self.away = True

    async def judge(self, checks: Sequence[Check]) -> list[Verdict]:
        if checks:
            self.calls.append(len(checks))
        await asyncio.sleep(self.delay)
        if self.away:
            raise BucketsAwayError("away")
        return [self.model.judge(check, self.now) for check in checks]


class FakeWatcher:
    """Every topic as empty as `states` says, or a fault."""

    def __init__(self) -> None:
        self.states: dict[str, list[PartitionState]] = {}
        self.fault: OSError | None = None
        self.asked: list[Mapping[TopicName, Question]] = []

    async def look(
        self, questions: Mapping[TopicName, Question]
    ) -> Mapping[TopicName, list[PartitionState]]:
        self.asked.append(questions)
        if self.fault is not None:
            raise self.fault
        empty = [PartitionState(0, 0, None, None, 0)]
        return {topic: self.states.get(topic, empty) for topic in questions}


def state(
    start: int = 0,
    end: int = 100,
    committed: int | None = 100,
    recent: int | None = 0,
    size: int | None = 0,
) -> PartitionState:
    """A partition of 100 records, all of them read, unless said otherwise."""
    return PartitionState(start, end, committed, recent, size)


class FakeConnection:
    """A client that takes what it is given."""

    def __init__(self) -> None:
        self.client: tuple[str, int] | None = ("192.0.2.1", 4711)
        self.written = b""
        self.pauses = self.resumes = 0
        self.drains = asyncio.Event()
        """Unset while the client takes nothing."""
        self.drains.set()
        self.ended: bool | None = None
        """Once an answer is complete: whether the connection ended with it."""

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.resumes += 1

    def write(self, data: bytes) -> bool:
        self.written += data
        return not self.drains.is_set()

    async def drained(self) -> None:
        await self.drains.wait()

    def finished(self, *, keep_alive: bool) -> None:
        assert self.ended is None, "answered twice"
        self.ended = not keep_alive

    def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of what was written; 0 where nothing was."""
        if not self.written:
            return 0, {}, b""
        head, _, body = self.written.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert int(headers[b"content-length"]) == len(body)
        return int(status.split()[1]), headers, body
