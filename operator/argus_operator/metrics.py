"""The operator's metrics, each declared once with what it means."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

Series = tuple[Gauge, tuple[str, ...]]
"""A gauge and the values of its labels."""


class Board:
    """Series of what comes and goes; to make one costs a hundred times what it costs to keep it."""

    def __init__(self) -> None:
        self._shown: Mapping[Series, float] = {}

    def show(self, values: Mapping[Series, float]) -> None:
        """Sets these and takes away all others that this board has shown."""
        for gauge, labels in self._shown.keys() - values.keys():
            gauge.remove(*labels)
        for series, value in values.items():
            if self._shown.get(series) != value:
                gauge, labels = series
                gauge.labels(*labels).set(value)
        self._shown = values


RECONCILES: Final = Counter(
    "argus_operator_reconciles_total",
    "Tenants reconciled with their pipelines, or replays, by outcome: done, retry (a dependency is "
    "away), failed (a fault of the operator).",
    ["kind", "outcome"],
)
RECONCILE_SECONDS: Final = Histogram(
    "argus_operator_reconcile_seconds",
    "Time that one reconciliation took.",
    ["kind"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120),
)
QUEUE: Final = Gauge(
    "argus_operator_queue", "Tenants, or replays, that wait to be reconciled.", ["kind"]
)
DRIFT_REPAIRED: Final = Counter(
    "argus_operator_drift_repaired_total",
    "What was found other than a spec that had been applied already says, and was put right: topic "
    "(gone, or with too few partitions), topic_config, tables, secret, registry (a tenant's "
    "document was gone), finalizer.",
    ["what"],
)
SWEPT: Final = Counter(
    "argus_operator_swept_total",
    "Tenants that a round of the resync passed, by outcome: skipped (nothing had changed since all "
    "was found in order), woken (to be reconciled).",
    ["outcome"],
)
WATCH_BEHIND: Final = Gauge(
    "argus_operator_watch_behind_seconds",
    "For how long a list of all resources has shown one that the watch does not tell of; 0 where "
    "there is none.",
)
DEPENDENCY_ERRORS: Final = Counter(
    "argus_operator_dependency_errors_total",
    "Calls that a dependency did not answer, or answered with an error, by dependency: kubernetes, "
    "kafka, postgresql, redis.",
    ["dependency"],
)
TIERS_INVALID: Final = Gauge(
    "argus_operator_tiers_invalid",
    "1 where the file with the tiers cannot be read or does not hold tiers: those that it held "
    "before stay in force.",
)
USAGE_RAISED: Final = Counter(
    "argus_operator_usage_raised_total",
    "Tenants whose usage of a quota was raised in Redis to what the ledger says: the counter was "
    "lost, or nobody had looked after it.",
)
RESYNC_AGE: Final = Gauge(
    "argus_operator_resync_age_seconds",
    "Time since everything was last looked at to the end, or since the start where it never was.",
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
KEY_ROTATIONS: Final = Counter(
    "argus_operator_key_rotations_total",
    "Keys that another has replaced, by what asked for it: request, schedule, revocation.",
    ["by"],
)
EXPIRED_ROWS: Final = Counter(
    "argus_operator_expired_rows_total", "Rows dropped because they were past their retention."
)

_PIPELINE: Final = ["namespace", "tenant", "pipeline"]
LEDGER_RECORDS: Final = Gauge(
    "argus_operator_ledger_records",
    "What became of a pipeline's records, by term of the ledger: stored, duplicate, dead_lettered, "
    "skipped, lost; and expired, the stored ones that retention has dropped since.",
    [*_PIPELINE, "term"],
)
LEDGER_LOG_END: Final = Gauge(
    "argus_operator_ledger_log_end_records",
    "Records that a pipeline's log took since its books began: all terms but expired, and those in "
    "flight.",
    _PIPELINE,
)
LEDGER_IN_FLIGHT: Final = Gauge(
    "argus_operator_ledger_in_flight_records", "Records that are not settled yet.", _PIPELINE
)
LEDGER_OLDEST_UNREAD: Final = Gauge(
    "argus_operator_ledger_oldest_unread_seconds",
    "Age of the oldest record that is not settled yet; 0 where there is none.",
    _PIPELINE,
)
LEDGER_BALANCED: Final = Gauge(
    "argus_operator_ledger_balanced",
    "1 where every record that was read is accounted for and none was lost, else 0.",
    _PIPELINE,
)
AUDIT_BALANCED: Final = Gauge(
    "argus_operator_audit_balanced",
    "1 where the last audit found the rows and letters that the ledger says, else 0; absent before "
    "a pipeline's first audit.",
    _PIPELINE,
)
AUDIT_TIMESTAMP: Final = Gauge(
    "argus_operator_audit_timestamp_seconds",
    "When the last audit that came to an end was made, in seconds since the epoch, or where there "
    "was none, when this process first saw the pipeline; audit_balanced is as old. Absent where "
    "audits are off.",
    _PIPELINE,
)
DEAD_LETTERS: Final = Gauge(
    "argus_operator_dead_letters",
    "Records that were dead-lettered, by reason.",
    [*_PIPELINE, "code"],
)
PIPELINE_STATE: Final = Gauge(
    "argus_operator_pipeline_state",
    "1 for the worst state of a pipeline's partitions, else 0: open, paused, guarded, stopped; all "
    "0 before the stream has reported one.",
    [*_PIPELINE, "state"],
)
PIPELINES: Final = Board()
"""All gauges of pipelines."""
LEDGER_READ: Final = Gauge(
    "argus_operator_ledger_read_timestamp_seconds",
    "When the ledger was last read for these metrics, in seconds since the epoch; they are as old. "
    "0 before the first time.",
)
AUDITS: Final = Counter(
    "argus_operator_audits_total",
    "Audits of a pipeline's rows and letters, by outcome: balanced, unbalanced, failed (the "
    "database gave no answer in time).",
    ["outcome"],
)
