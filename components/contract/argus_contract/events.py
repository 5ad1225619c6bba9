"""The event as clients send it, and the fields that typed events must carry.

Decoding is strict where a mistake would lose meaning (an unknown top-level field, a naive
timestamp) and free where the data is the client's own (`properties`).
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_TEXT: Final = 200
"""Longest event name, distinct_id and session_id, in characters."""

ABSENT: Final = msgspec.Raw()
"""Properties that the client left out."""

Name = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Timestamp = Annotated[datetime, Meta(tz=True)]


class Fields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event's own fields: all but the client's properties."""

    event: Name
    id: str | None = None
    timestamp: Timestamp | None = None
    distinct_id: Text | None = None
    session_id: Text | None = None
    value: float | None = None


class Event(Fields, gc=False):
    """One event of a client.

    `properties` is left undecoded: `b""` where absent, else the client's JSON of any type, which
    the edge must still hold to be an object or null.
    """

    properties: msgspec.Raw = ABSENT


class Legible(msgspec.Struct, gc=False):
    """The two fields that are read of what is no event, of whatever type they are."""

    event: msgspec.Raw = ABSENT
    id: msgspec.Raw = ABSENT


class PageView(msgspec.Struct, gc=False):
    """Properties of `page_view`."""

    url: str


class Click(msgspec.Struct, gc=False):
    """Properties of `click`."""

    element: str


class ApiLatency(msgspec.Struct, gc=False):
    """Properties of `api_latency`; the duration is in milliseconds."""

    route: str
    method: str
    status: int
    duration_ms: float


class HealthMetric(msgspec.Struct, gc=False):
    """Properties of `health_metric`; the measurement is the event's own `value`."""

    metric: str
    unit: str


Typed = PageView | Click | ApiLatency | HealthMetric

TYPED: Final[Mapping[str, type[Typed]]] = MappingProxyType(
    {
        "page_view": PageView,
        "click": Click,
        "api_latency": ApiLatency,
        "health_metric": HealthMetric,
    }
)
"""Names that mean a typed event; any other name is a custom event."""
