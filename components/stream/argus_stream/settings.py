"""Everything that can be set about the stream; validated whole before anything starts."""

from typing import Self

from argus_runtime.settings import (
    DatabaseSettings,
    KafkaSettings,
    ProcessSettings,
    RedisSettings,
    Section,
)
from pydantic import Field, model_validator


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
    linger: float = Field(default=0.2, ge=0)
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


class GuardSettings(Section):
    """When a pipeline's records stop being dead-lettered, because its table refuses too many.

    Counted are the records that reached the database: refused are those it would not take alone
    (SQLSTATE class 22 or 23) and those on which ARGUS itself failed.
    """

    window: int = Field(default=1_000, ge=1)
    """How many of a pipeline's last records are looked at."""
    ratio: float = Field(default=0.5, gt=0, le=1)
    """Share of refused ones among them from which on the guard trips."""
    least: int = Field(default=100, ge=1)
    """How many refused ones there must be for the share to count; no more than `window`."""
    run: int = Field(default=100, ge=1)
    """How many refused ones in a row trip the guard by themselves."""
    probe: float = Field(default=30.0, gt=0)
    """Seconds between two tries, undone afterwards, of a guarded pipeline's next records."""

    @model_validator(mode="after")
    def _least_fits(self) -> Self:
        if self.least > self.window:
            raise ValueError("least may not exceed window, or the share would never count")
        return self


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
    guard: GuardSettings = GuardSettings()
    """When a pipeline stops writing dead letters."""
    letter_timeout: float = Field(default=5.0, gt=0)
    """Seconds that Kafka may take to acknowledge dead letters; then their pipeline pauses."""
    letter_patience: float = Field(default=0.2, gt=0)
    """Seconds that a pipeline's dead letters may hold up the rows of others; after that it is read
    again once they are acknowledged."""
    stuck_after: float = Field(default=180.0, gt=0)
    """Seconds after which a loop that does not move makes /healthz fail."""
    grace: float = Field(default=20.0, gt=0)
    """Seconds that the last batch may take at SIGTERM; less than the pod's grace period."""
