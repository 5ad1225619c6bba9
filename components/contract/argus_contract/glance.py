"""A glance at an event: one pass over its bytes, which nearly every event needs no more than.

It reads the event's fields and, in the same pass, those properties that a typed event must have.
What is plainly right is right; about all else it says nothing, neither that it is wrong nor why:
that is found by looking closely. So it may be stricter than the judge, and never more lenient.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from argus_contract.events import TYPED, Fields


class Properties(msgspec.Struct, gc=False):
    """The properties that any typed event must have; each None where absent or null.

    The types are those that most events have under these names, custom ones among them: a property
    of another type costs a close look.
    """

    url: str | None = None
    element: str | None = None
    route: str | None = None
    method: str | None = None
    status: int | str | None = None
    duration_ms: float | None = None
    metric: str | None = None
    unit: str | None = None


class Glimpse(Fields, gc=False):
    """An event as far as a glance tells."""

    properties: Properties | None = None


_NONE: Final = Properties()

decode: Final = msgspec.json.Decoder(Glimpse).decode
"""Decodes an event; raises as msgspec does for what is none, and for some of what is one."""


def implied_value(event: Glimpse) -> float | UnsetType | None:
    """The value that the event implies where it has none of its own, None where it implies none.

    UNSET where it is not plain that the event has all that its name asks for.
    """
    has = event.properties or _NONE
    match event.event:
        case "page_view":
            return UNSET if has.url is None else None
        case "click":
            return UNSET if has.element is None else None
        case "api_latency":
            if (
                has.route is None
                or has.method is None
                or not isinstance(has.status, int)
                or has.duration_ms is None
            ):
                return UNSET
            return has.duration_ms if event.value is None else None
        case "health_metric":
            whole = has.metric is not None and has.unit is not None and event.value is not None
            return None if whole else UNSET
        case name:
            return UNSET if name in TYPED else None
