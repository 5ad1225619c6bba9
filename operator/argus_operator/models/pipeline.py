"""ArgusPipeline, as crds/arguspipelines.yaml defines it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from argus_operator.models import units
from argus_operator.models.common import (
    Condition,
    DeletionPolicy,
    Duration,
    Mode,
    Model,
    Name,
    ReasonCounts,
)

KIND: Final = "ArgusPipeline"
PLURAL: Final = "arguspipelines"

Size = int | Annotated[str, Field(max_length=17, pattern=units.SIZE)]
Hours = Annotated[int, Field(ge=1, le=8_760)]
Pattern = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^*]+\*?$")]
EventName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^*]+$")]
TopicName = Annotated[str, Field(max_length=249, pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


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


class ExternalTopics(Model):
    """Topics that somebody else made and looks after."""

    name: TopicName
    dead_letter_name: TopicName


class Topic(Model):
    """The Kafka topic."""

    partitions: Annotated[int, Field(ge=1, le=64)] = 1
    retention: TopicRetention = TopicRetention()
    external: ExternalTopics | None = None


class DeadLetter(Model):
    """The dead-letter topic."""

    retention: DeadLetterRetention = DeadLetterRetention()


class Storage(Model):
    """The hypertable."""

    chunk_interval: Duration = "1d"
    retention: Duration = "90d"
    compress_after: Duration | None = None


class EventSchema(Model):
    """The JSON Schema that the properties of one event must fit; taken here as it is."""

    event: EventName
    json_schema: dict[str, Any]


class Validation(Model):
    """Which schemas events must fit, and what becomes of those that do not."""

    mode: Mode = Mode.ENFORCE
    schemas: Annotated[tuple[EventSchema, ...], Field(max_length=64)] = ()


class PipelineSpec(Model):
    """Which events go where, and for how long they stay."""

    tenant_ref: TenantRef
    match: Annotated[tuple[Pattern, ...], Field(max_length=64)] = ()
    topic: Topic = Topic()
    dead_letter: DeadLetter = DeadLetter()
    storage: Storage = Storage()
    validation: Validation = Validation()
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


class Compression(StrEnum):
    """What became of `storage.compressAfter`."""

    POLICY = "Policy"
    UNSUPPORTED = "Unsupported"


class PipelineStatus(Model):
    """What was made of it, and how it fares."""

    topic: str | None = None
    dead_letter_topic: str | None = None
    partitions: int | None = None
    schema_: Annotated[str | None, Field(alias="schema")] = None
    table: str | None = None
    role: str | None = None
    compression: Compression | None = None
    lag: int | None = None
    rates: Rates | None = None
    last_event_at: datetime | None = None
    oldest_unread_at: datetime | None = None
    dead_letters: ReasonCounts | None = None
    audit: AuditStatus | None = None
    conditions: tuple[Condition, ...] = ()
