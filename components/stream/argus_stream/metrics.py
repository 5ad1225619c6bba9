"""Every metric of the stream, declared once, with its meaning."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECORDS: Final = Counter(
    "argus_stream_records",
    "Offsets settled in the ledger, by what became of them: "
    "stored, duplicate, dead_lettered or skipped.",
    ["outcome"],
)
LETTERS: Final = Counter(
    "argus_stream_letters", "Dead letters acknowledged by Kafka, by reject code.", ["code"]
)
SCHEMA_MISMATCHES: Final = Counter(
    "argus_stream_schema_mismatches",
    "Events whose properties do not fit the JSON Schema of their name, each time one is judged: "
    "dead-lettered or, where validation.mode is observe, stored.",
    ["tenant", "pipeline", "event"],
)
BATCH_RECORDS: Final = Histogram(
    "argus_stream_batch_records",
    "Records in one call of the storing function.",
    buckets=(1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
STORE_SECONDS: Final = Histogram(
    "argus_stream_store_seconds",
    "Seconds that one staging COPY and its call of the storing function took.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STORE_FAILURES: Final = Counter(
    "argus_stream_store_failures",
    "Storing calls that failed, by kind: fenced, refused, table, unavailable or defect.",
    ["kind"],
)
AGE_SECONDS: Final = Histogram(
    "argus_stream_age_seconds",
    "Seconds between receipt at the edge and the commit, of the oldest event of each slice.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
PARTITIONS: Final = Gauge(
    "argus_stream_partitions",
    "Partitions of this process: open, waiting, guarded or stopped.",
    ["state"],
)
GUARDED: Final = Gauge(
    "argus_stream_guarded",
    "1 while the guard has tripped for a pipeline: its table refuses most records, or ARGUS fails "
    "on them, and nothing more is dead-lettered.",
    ["topic"],
)
LAG: Final = Gauge(
    "argus_stream_lag_records",
    "Records of a topic, over our partitions, not yet stored.",
    ["topic"],
)
PAUSES: Final = Counter(
    "argus_stream_pauses", "Times a pipeline was paused because it failed alone.", ["topic"]
)
MEMBERS: Final = Gauge("argus_stream_members", "Stream processes that are alive, as we know it.")
LIVE_BEHIND: Final = Gauge(
    "argus_stream_live_behind_partitions",
    "Partitions whose live counters do not show all that is stored.",
)
LIVE_REBUILDS: Final = Counter(
    "argus_stream_live_rebuilds", "Live windows rebuilt from the database."
)
LIVE_FAILURES: Final = Counter(
    "argus_stream_live_failures", "Calls for the live counters that Redis or the database failed."
)
