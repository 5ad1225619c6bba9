"""The OpenAPI description of the hot route, from the very types that decode it.

FastAPI cannot see a route that stands in front of it, so this adds the operation to its document.
"""

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import msgspec
from argus_contract.events import TYPED, Event, HealthMetric, Name, Typed
from argus_contract.ids import UUID_PATTERN
from argus_contract.rejects import Code
from argus_contract.sizes import KIB, MAX_BODY, MAX_EVENT, MAX_EVENTS, MAX_INFLATED, MIB
from msgspec import Meta

from argus_ingest import errors
from argus_ingest.errors import TYPE_PREFIX, ProblemError
from argus_ingest.exchange import PATH

_UUID: Final = Meta(pattern=f"^{UUID_PATTERN}$", description="A UUID")
_OBJECT: Final = dict[str, Any]
_REF: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = f"""\
Takes one event, an array of events, `{{"batch": [...]}}`, or NDJSON (`application/x-ndjson`).
`Content-Encoding` may be gzip, deflate, br or zstd. `text/plain` is read as JSON, for beacons.
At most {MAX_EVENTS} events of {MAX_EVENT // KIB} KiB, {MAX_BODY // MIB} MiB as sent and
{MAX_INFLATED // MIB} MiB inflated.

**202 means that Kafka has every event**, on all in-sync replicas. Events that are no events are
listed in `rejected` and go to the pipeline's dead letters; whether an accepted event's time lies
in the pipeline's window is judged later, so it may still be dead-lettered.

An event answered with 503 may be stored all the same. Send it again with the same `id` and
`timestamp`: it is stored and counted once.
"""


class Rejected(msgspec.Struct):
    """Why one item of the body is no event."""

    index: int
    """Position in the body, from 0; NDJSON counts lines that are not blank."""
    code: Code
    message: str


class Accepted(msgspec.Struct):
    """Kafka has all of it."""

    accepted: int
    rejected: list[Rejected]


class Problem(msgspec.Struct):
    """An RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str


def problems() -> list[type[ProblemError]]:
    """Every problem there is, by status and name."""
    found = [kind for kind in vars(errors).values() if _is_problem(kind)]
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


def _is_problem(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, ProblemError) and kind is not ProblemError


def extend(document: dict[str, Any]) -> dict[str, Any]:
    """Adds the hot route and its schemas to an OpenAPI document, in place."""
    components = document.setdefault("components", {})
    events = _described_events()
    described = (*events, Accepted, Problem)
    _, schemas = msgspec.json.schema_components(described, ref_template=_REF)
    schemas["Event"] = {"oneOf": [{"$ref": _REF.format(name=kind.__name__)} for kind in events]}
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "query": {
            "type": "apiKey",
            "in": "query",
            "name": "key",
            "description": "A public key, for beacons",
        },
    }
    document.setdefault("paths", {})[PATH] = {"post": _operation()}
    return document


def _described_events() -> list[type[msgspec.Struct]]:
    """Custom events, then each typed one with the properties that it must have."""
    other = Meta(extra_json_schema={"not": {"enum": list(TYPED)}})
    custom = _described_event("CustomEvent", event=Annotated[Name, other])
    return [custom, *(_typed_event(name, kind) for name, kind in TYPED.items())]


def _typed_event(name: str, properties: type[Typed]) -> type[msgspec.Struct]:
    required: dict[str, Any] = {"event": Literal[name], "properties": properties}
    if properties is HealthMetric:
        required["value"] = float
    return _described_event(f"{properties.__name__}Event", **required)


def _described_event(title: str, **required: Any) -> type[msgspec.Struct]:
    """An event as clients write it, where we keep some of it as bytes or judge it later."""
    written: dict[str, Any] = {"id": Annotated[str, _UUID] | None, "properties": _OBJECT | None}
    fields: list[Any] = list(required.items())
    for field in msgspec.structs.fields(Event):
        if field.name not in required:
            fields.append((field.name, written.get(field.name, field.type), None))
    return msgspec.defstruct(title, fields, forbid_unknown_fields=True)


def _operation() -> dict[str, Any]:
    return {
        "summary": "Send events",
        "operationId": "sendEvents",
        "tags": ["events"],
        "description": _DESCRIPTION,
        "security": [{"bearer": []}, {"header": []}, {"query": []}],
        "requestBody": {"required": True, "content": _request_content()},
        "responses": {"202": _accepted(), **_responses()},
    }


def _request_content() -> dict[str, Any]:
    event = {"$ref": _REF.format(name="Event")}
    many = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS}
    batch = {
        "type": "object",
        "properties": {"batch": many},
        "required": ["batch"],
        "additionalProperties": False,
    }
    json = {
        "schema": {"oneOf": [event, many, batch]},
        "example": {"event": "page_view", "properties": {"url": "https://example.com/"}},
    }
    lines = {"schema": {"type": "string", "description": "One event a line"}}
    return {"application/json": json, "application/x-ndjson": lines, "text/plain": json}


def _accepted() -> dict[str, Any]:
    return {
        "description": "Kafka has every event",
        "headers": _rate_limit_headers(),
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Accepted")}}},
    }


def _responses() -> dict[str, Any]:
    described: dict[str, Any] = {}
    for kind in problems():
        text = f"`{TYPE_PREFIX}{kind.slug}`: {(kind.__doc__ or '').strip()}"
        known = described.get(str(kind.status))
        if known is not None:
            known["description"] += f"\n\n{text}"
            continue
        described[str(kind.status)] = {
            "description": text,
            "headers": _headers_of(kind.status),
            "content": {
                "application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}
            },
        }
    return described


def _headers_of(status: int) -> dict[str, Any]:
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
    match status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return retry | _rate_limit_headers()
        case HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.REQUEST_TIMEOUT:
            return retry
        case _:
            return {}


def _rate_limit_headers() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "RateLimit": {"schema": text, "description": "What is left, by bucket or quota"},
        "RateLimit-Policy": {
            "schema": text,
            "description": "Each bucket's size and refill time, and each quota",
        },
    }
