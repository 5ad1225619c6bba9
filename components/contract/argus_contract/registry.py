"""The registry: what ingest and stream must know of a tenant, one document each.

The operator publishes documents to a compacted topic and, after all of them, a marker. A reader
trusts nothing before it has seen a marker that its documents satisfy.
"""

from typing import Final

import msgspec

from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId, TopicName

MARKER_KEY: Final = "!marker"
"""Kafka key of the marker; no tenant id begins with `!`."""


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A token bucket: tokens per second, and how many it holds."""

    rate: float
    burst: float


class Limits(msgspec.Struct, frozen=True, gc=False):
    """A tenant's limits after its tier and overrides.

    `per_key` is charged one token an event, `per_ip` one token a request, and that for server keys
    only where `server_keys_by_ip` says so. `daily` and `monthly` are events in a day and in a month
    of UTC, `concurrency` requests in work over all pods; None is without limit. Where `observe` is
    set, what is above any of these limits passes and is counted.
    """

    per_key: Bucket
    per_ip: Bucket
    server_keys_by_ip: bool = False
    daily: int | None = None
    monthly: int | None = None
    concurrency: int | None = None
    observe: bool = False


class Key(msgspec.Struct, frozen=True, gc=False):
    """An API key by its hash; times in microseconds since the epoch."""

    hash: KeyHash
    name: str
    kind: KeyKind
    expires: int | None = None
    """From then on it is refused as expired: its owner said so beforehand."""
    until: int | None = None
    """From then on it is as unknown as if it were not here: the end of the grace of a key that was
    rotated out. A reader of an older release ignores this, and refuses once the key has gone."""


class EventSchema(msgspec.Struct, frozen=True, gc=False):
    """What the properties of events of this name must fit: a JSON Schema as canonical JSON text.

    Canonical is with sorted keys and without blanks, so that equal schemas are equal texts.
    """

    event: str
    schema: str


class Validation(msgspec.Struct, frozen=True, gc=False):
    """A pipeline's schemas; an event that does not fit is dead-lettered only if `enforce`."""

    enforce: bool
    schemas: tuple[EventSchema, ...]


class Pipeline(msgspec.Struct, frozen=True, gc=False):
    """Where events go: names to match, topics, and what the stream must know of storage.

    An empty `match` makes it the tenant's default. Durations are in seconds.
    """

    uid: str
    name: str
    topic: TopicName
    dead_letter_topic: TopicName
    partitions: int
    schema: str
    table: str
    window: int
    """How far back an event's time may lie: storage.retention less one chunk interval."""
    dedupe_window: int
    retention_bytes: int
    """Of the whole topic; the operator divides it by partitions."""
    retention_seconds: int
    match: tuple[str, ...] = ()
    validation: Validation | None = None
    """None where no event has a schema. A stream of an older release ignores this."""


class TenantDocument(msgspec.Struct, frozen=True):
    """All that the data path knows of a tenant; the value of one registry record."""

    id: TenantId
    namespace: str
    name: str
    revision: int
    limits: Limits
    suspended: bool = False
    keys: tuple[Key, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()

    @property
    def display(self) -> str:
        """`<namespace>/<name>`, for people and metric labels."""
        return f"{self.namespace}/{self.name}"


class Marker(msgspec.Struct, frozen=True, gc=False):
    """Says that `tenants` documents were published by `revision` (milliseconds, growing)."""

    revision: int
    tenants: int


encode: Final = msgspec.json.Encoder().encode
decode_document: Final = msgspec.json.Decoder(TenantDocument).decode
decode_marker: Final = msgspec.json.Decoder(Marker).decode
