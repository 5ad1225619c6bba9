"""Every metric of the edge, declared once. Labels are bounded: tenants and pipelines of the
registry, statuses, codes; never anything that a client writes."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from argus_ingest.tally import Durations, Tally

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

NO_TENANT: Final = ""
"""Label of requests that were answered before their tenant was known."""

REQUESTS: Final = Tally(
    "argus_ingest_requests", "Requests answered, by tenant and status", ["tenant", "status"]
)
ACCEPTED: Final = Tally(
    "argus_ingest_events_accepted", "Events that Kafka has", ["tenant", "pipeline"]
)
REJECTED: Final = Counter(
    "argus_ingest_events_rejected", "Rejects that Kafka has, by code", ["tenant", "code"]
)
UNAVAILABLE: Final = Counter(
    "argus_ingest_unavailable",
    "Requests answered 503, by reason: registry-incomplete, busy, backlog or log-unavailable",
    ["tenant", "reason"],
)
LIMITED: Final = Counter(
    "argus_ingest_limited",
    "Requests refused by a limit: ip, key or both of them, day, month or concurrency",
    ["tenant", "bucket"],
)
WOULD_LIMIT: Final = Counter(
    "argus_ingest_would_limit",
    "Requests that passed because their tenant's limits are only observed, by what would have "
    "refused them",
    ["tenant", "bucket"],
)
LIMITED_EARLY: Final = Counter(
    "argus_ingest_limited_early",
    "Of those, the ones refused before their body was read, because the bucket was known to be "
    "empty",
    ["tenant"],
)
FLOODED: Final = Counter("argus_ingest_flooded", "Requests turned away by the flood guard")
GONE: Final = Counter("argus_ingest_clients_gone", "Clients that hung up within their body")
LATENCY: Final = Durations(
    "argus_ingest_request_seconds", "From a request's head to its answer", _SECONDS
)
BYTES_IN_FLIGHT: Final = Gauge(
    "argus_ingest_bytes_in_flight", "Bytes of bodies and unacknowledged records held"
)

USES_FAILURES: Final = Counter(
    "argus_ingest_uses_failures", "Attempts to write down when keys were last used that failed"
)

LIMITER_CALLS: Final = Counter("argus_ingest_limiter_calls", "Calls to the shared buckets")
LIMITER_CHECKS: Final = Counter(
    "argus_ingest_limiter_checks", "Checks judged, by where: shared or local", ["where"]
)
SHARED_CHECKS: Final = LIMITER_CHECKS.labels("shared")
LOCAL_CHECKS: Final = LIMITER_CHECKS.labels("local")
LIMITER_FAILURES: Final = Counter(
    "argus_ingest_limiter_failures", "Calls to the shared buckets that failed or were too slow"
)
LIMITER_LOCAL: Final = Gauge(
    "argus_ingest_limiter_local", "1 while local buckets stand in for the shared ones"
)
LIMITER_SECONDS: Final = Histogram(
    "argus_ingest_limiter_call_seconds",
    "Duration of a call to the shared buckets",
    buckets=_SECONDS,
)

BATCHES: Final = Counter("argus_ingest_batches", "Batches that Kafka acknowledged")
BATCH_RECORDS: Final = Histogram(
    "argus_ingest_batch_records", "Records in an acknowledged batch", buckets=_SIZES
)
BATCH_SECONDS: Final = Histogram(
    "argus_ingest_batch_seconds", "From sending a batch to its acknowledgement", buckets=_SECONDS
)
BATCH_FAILURES: Final = Counter("argus_ingest_batch_failures", "Batches given up")
DELIVERY_TIMEOUTS: Final = Counter(
    "argus_ingest_delivery_timeouts", "Requests whose records were not acknowledged in time"
)

UNREAD_RECORDS: Final = Gauge(
    "argus_ingest_unread_records", "Records that the stream has not stored", ["tenant", "pipeline"]
)
UNREAD_BYTES: Final = Gauge(
    "argus_ingest_unread_bytes", "Their bytes in the log, estimated", ["tenant", "pipeline"]
)
UNREAD_SHARE: Final = Gauge(
    "argus_ingest_unread_share",
    "Part of its retention in bytes that a pipeline's fullest partition has unread: 1 is all of it",
    ["tenant", "pipeline"],
)
REFUSING: Final = Gauge(
    "argus_ingest_refusing", "1 while a pipeline is refused for its backlog", ["tenant", "pipeline"]
)
PRESSURE_FAILURES: Final = Counter(
    "argus_ingest_pressure_failures", "Looks at the log ends and commits that failed"
)

LOOP_LAG: Final = Histogram(
    "argus_ingest_loop_lag_seconds", "How late the event loop runs a timer", buckets=_SECONDS
)

_BACKLOG: Final = (UNREAD_RECORDS, UNREAD_BYTES, UNREAD_SHARE, REFUSING)
_PER_TENANT: Final = (
    REJECTED,
    UNAVAILABLE,
    LIMITED,
    WOULD_LIMIT,
    LIMITED_EARLY,
    *_BACKLOG,
)
_TALLIES: Final = (REQUESTS, ACCEPTED)


def forget(tenants: Iterable[str]) -> None:
    """Drops the series of tenants that are gone, by their display names."""
    for tenant in tenants:
        for metric in _PER_TENANT:
            metric.remove_by_labels({"tenant": tenant})
        for tally in _TALLIES:
            tally.forget(tenant)


def forget_backlog(tenant: str, pipeline: str) -> None:
    """Drops what is shown of a pipeline that nobody looks at any more."""
    for metric in _BACKLOG:
        metric.remove_by_labels({"tenant": tenant, "pipeline": pipeline})
