"""Everything that can be set about the stream; validated whole before anything starts."""

from argus_runtime.settings import (
    DatabaseSettings,
    KafkaSettings,
    ProcessSettings,
    RedisSettings,
    Section,
)
from pydantic import Field


class MembershipSettings(Section):
    """How processes know of each other."""

    interval: float = Field(default=1.0, gt=0)
    """Seconds between heartbeats."""
    ttl: float = Field(default=10.0, gt=0)
    """Seconds without a heartbeat after which a process counts as dead."""


class BatchSettings(Section):
    """How much is stored at once. At most two batches are in memory: one stored, one filled."""

    records: int = Field(default=5_000, ge=1)
    """Most records."""
    bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """Bytes of record values after which no more are added."""
    linger: float = Field(default=0.05, ge=0)
    """Seconds that a batch waits for company; a larger batch costs PostgreSQL less a row."""
    eager: int = Field(default=2_000, ge=1)
    """Records from which on a batch does not wait."""


class StoreSettings(Section):
    """How long the database may take, and how failures are waited out."""

    lock_timeout: float = Field(default=2.0, gt=0)
    """Seconds that a batch waits for a lock: one locked table may not hold the others up."""
    statement_timeout: float = Field(default=20.0, gt=0)
    """Seconds after which PostgreSQL gives a statement up; less than database.command_timeout."""
    first_delay: float = Field(default=0.2, gt=0)
    """Seconds to wait after a first failure; each one in a row doubles it."""
    most_delay: float = Field(default=15.0, gt=0)
    """Longest wait between two tries, in seconds."""
    connections: int = Field(default=5, ge=1)
    """Connections beside the storing one, opened as needed: heartbeats, opening, known ids, live
    counters."""


class StreamSettings(ProcessSettings):
    """The stream's settings, from `ARGUS_…` variables."""

    kafka: KafkaSettings
    """Where records come from, and where dead letters go."""
    redis: RedisSettings = RedisSettings()
    """Where live counters are."""
    database: DatabaseSettings
    """Where rows go; the role is argus_stream."""
    membership: MembershipSettings = MembershipSettings()
    """Sharing of partitions."""
    batch: BatchSettings = BatchSettings()
    """Batches."""
    store: StoreSettings = StoreSettings()
    """Storing."""
    letter_timeout: float = Field(default=5.0, gt=0)
    """Seconds that Kafka may take to acknowledge dead letters; then their pipeline pauses."""
    stuck_after: float = Field(default=180.0, gt=0)
    """Seconds after which a loop that does not move makes /healthz fail."""
    grace: float = Field(default=20.0, gt=0)
    """Seconds that the last batch may take at SIGTERM; less than the pod's grace period."""
