"""Records, leases and slices for the stream's unit tests."""

from dataclasses import dataclass

from argus_contract import headers, names, splice
from argus_contract.headers import Header
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Bucket, Limits, Pipeline, TenantDocument
from argus_contract.rejects import Code, Step
from argus_stream.slices import Letter, Slice
from argus_stream.sources import Lease, Route, Source

NOW = 1_800_000_000_000_000
"""The tests' present, in microseconds since the epoch."""
LIMITS = Limits(per_key=Bucket(5000, 10000), per_ip=Bucket(50, 100))


@dataclass(frozen=True)
class FakeRecord:
    """A Kafka record."""

    offset: int
    value: bytes | None = b"{}"
    headers: tuple[Header, ...] = ()
    timestamp: int = NOW // 1000


def identity(number: int) -> str:
    """A UUID that tells which record it is of."""
    return f"0192f0c1-0000-7000-8000-{number:012x}"


def record(
    offset: int,
    event: bytes = b'{"event":"e"}',
    *,
    id: str | None = None,
    time: int = NOW,
    received: int = NOW,
    by_id: bool = False,
    value: float | None = None,
) -> FakeRecord:
    """An event's record, as ingest writes it."""
    known = id or identity(offset)
    marks: tuple[Header, ...] = ((headers.BY_ID, b"1"),) if by_id else ()
    return FakeRecord(
        offset,
        splice.envelope(known, time, received, event, value),
        ((headers.ID, known.encode()), *marks),
    )


def pipeline(topic: str = "argus.ns.web.0badcafe", partitions: int = 1) -> Pipeline:
    """A pipeline that takes a week."""
    return Pipeline(
        uid="0badcafe-0000-4000-8000-000000000000",
        name="web",
        topic=TopicName(topic),
        dead_letter_topic=names.dead_letter_topic(TopicName(topic)),
        partitions=partitions,
        schema="t_ns_shop_0badcafe",
        table="events_web",
        window=7 * 86_400,
        dedupe_window=86_400,
        retention_bytes=1 << 30,
        retention_seconds=86_400,
    )


def tenant(*pipelines: Pipeline) -> TenantDocument:
    """The tenant of `pipelines`."""
    return TenantDocument(
        TenantId("ns.shop.0badcafe"), "ns", "shop", 1, LIMITS, pipelines=pipelines
    )


def route(topic: str = "argus.ns.web.0badcafe") -> Route:
    """A route to a pipeline of this topic."""
    made = pipeline(topic)
    return Route(tenant(made), made)


def lease(topic: str = "argus.ns.web.0badcafe", partition: int = 0, start: int = 0) -> Lease:
    """A lease from `start` on."""
    return Lease(Source(topic, partition), route(topic), start)


def letter(offset: int, code: Code = Code.TOO_OLD) -> Letter:
    """A letter of the record at `offset`."""
    return Letter(record(offset), identity(offset), code, Step.DECODE, "why")


def accounted(piece: Slice) -> list[int]:
    """Every offset that the slice accounts for, in order; twice if twice."""
    offsets = [found.offset for found in piece.records]
    offsets += [found.record.offset for found in piece.letters]
    offsets += piece.repeats
    for gap in piece.gaps:
        offsets += range(gap.start, gap.end)
    return sorted(offsets)
