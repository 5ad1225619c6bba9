"""ArgusPipeline, as crds/arguspipelines.yaml defines it."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from argus_operator.models import units
from argus_operator.models.common import (
    Condition,
    DeletionPolicy,
    Duration,
    Model,
    Name,
    ReasonCounts,
)

KIND: Final = "ArgusPipeline"
PLURAL: Final = "arguspipelines"

Size = int | Annotated[str, Field(max_length=17, pattern=units.SIZE)]
Hours = Annotated[int, Field(ge=1, le=8_760)]
Pattern = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^*]+\*?$")]


class TenantRef(Model):
    """A tenant in the same namespace."""

    name: Name


class TopicRetention(Model):
    """How long Kafka keeps events; `bytes` is of the whole topic."""

    hours: Hours = 168
    bytes: Size = "1Gi"


class DeadLetterRetention(Model):
    """How long Kafka keeps dead letters; `bytes` is of the whole topic."""

    hours: Hours = 720
    bytes: Size = "128Mi"


class Topic(Model):
    """The Kafka topic."""

    partitions: Annotated[int, Field(ge=1, le=64)] = 1
    retention: TopicRetention = TopicRetention()


class DeadLetter(Model):
    """The dead-letter topic."""

    retention: DeadLetterRetention = DeadLetterRetention()


class Storage(Model):
    """The hypertable."""

    chunk_interval: Duration = "1d"
    retention: Duration = "90d"


class PipelineSpec(Model):
    """Which events go where, and for how long they stay."""

    tenant_ref: TenantRef
    match: Annotated[tuple[Pattern, ...], Field(max_length=64)] = ()
    topic: Topic = Topic()
    dead_letter: DeadLetter = DeadLetter()
    storage: Storage = Storage()
    dedupe_window: Duration = "24h"
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN


class Rates(Model):
    """Records per second between the last two looks at the ledger, to two significant digits."""

    stored_per_second: float
    dead_letters_per_second: float


class AuditStatus(Model):
    """The last count of rows and letters."""

    checked_at: datetime
    balanced: bool
    message: str


class PipelineStatus(Model):
    """What was made of it, and how it fares."""

    topic: str | None = None
    dead_letter_topic: str | None = None
    partitions: int | None = None
    schema_: Annotated[str | None, Field(alias="schema")] = None
    table: str | None = None
    role: str | None = None
    lag: int | None = None
    rates: Rates | None = None
    last_event_at: datetime | None = None
    oldest_unread_at: datetime | None = None
    dead_letters: ReasonCounts | None = None
    audit: AuditStatus | None = None
    conditions: tuple[Condition, ...] = ()
