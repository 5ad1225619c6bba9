"""The operator's metrics, each declared once with what it means."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECONCILES: Final = Counter(
    "argus_operator_reconciles_total",
    "Tenants reconciled with their pipelines, by outcome: done, retry (a dependency is away), "
    "failed (a fault of the operator).",
    ["outcome"],
)
RECONCILE_SECONDS: Final = Histogram(
    "argus_operator_reconcile_seconds",
    "Time that one reconciliation took.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120),
)
QUEUE: Final = Gauge("argus_operator_queue", "Tenants that wait to be reconciled.")
RESYNC_AGE: Final = Gauge(
    "argus_operator_resync_age_seconds", "Time since the last finished look at everything."
)
REGISTRY_REVISION: Final = Gauge(
    "argus_operator_registry_revision", "Revision of the last published marker, in milliseconds."
)
REGISTRY_TENANTS: Final = Gauge(
    "argus_operator_registry_tenants", "Tenants that the last published marker counts."
)
DISK_ASKED: Final = Gauge(
    "argus_operator_kafka_asked_bytes", "Bytes that all topics may come to take, with replicas."
)
DISK_ALLOWED: Final = Gauge(
    "argus_operator_kafka_allowed_bytes", "Bytes that all topics may ask for; 0 if unbounded."
)
RESOURCES: Final = Gauge(
    "argus_operator_resources", "Resources by kind and whether they are Ready.", ["kind", "ready"]
)
EXPIRED_ROWS: Final = Counter(
    "argus_operator_expired_rows_total", "Rows dropped because they were past their retention."
)
