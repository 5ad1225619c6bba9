"""What an item is: an event, or a reject that says why it is none.

JSON, envelope fields, types and sizes are judged here, by the edge when an item comes and by a
replay when it is tried again, so that both say the same. What the database alone can judge (NUL in
a string) and what depends on the pipeline (the accepted window of times) is the stream's. Where a
JSON object names a field twice, the last one counts, here and there. Pure: no I/O and no state.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import msgspec
from msgspec import UNSET

from argus_contract import glance
from argus_contract.events import (
    MAX_TEXT,
    TYPED,
    ApiLatency,
    Event,
    HealthMetric,
    Legible,
    Typed,
)
from argus_contract.ids import is_uuid
from argus_contract.items import Accepted, Item, Reject
from argus_contract.rejects import Code
from argus_contract.sizes import KEPT_OF_REJECT, MAX_DEPTH, MAX_EVENT

STRING: Final = rb'"(?:[^"\\]++|\\.?)*+"?'
"""A JSON string as a regular expression that never backtracks; it takes one without an end too."""

_MAX_MESSAGE: Final = 500
"""Longest message of a reject, in characters: it goes into a header and into the answer."""


_glance: Final = glance.decode
_implied_value: Final = glance.implied_value
_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_legible: Final = msgspec.json.Decoder(Legible).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TYPED: Final[Mapping[str, Callable[[bytes | msgspec.Raw], Typed]]] = {
    name: msgspec.json.Decoder(kind).decode for name, kind in TYPED.items()
}
_FIELDS: Final = Event.__struct_fields__
_STRINGS: Final = re.compile(STRING, re.DOTALL)
_SQUARE_OPENS: Final = ord("[")
_CURLY_OPENS: Final = ord("{")
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_NO_OPENING: Final = bytes(set(range(256)) - set(b"[{"))
_OBJECT_OR_ABSENT: Final = (b"{", b"", b"n")
"""How valid JSON begins that is an object, nothing at all, or null."""
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that it cannot read as the type asked for."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode_leniently: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=float).decode
"""For what msgspec does not read at all; integers of any length are numbers too."""


class NotJsonError(Exception):
    """The item, or the body as a whole, is not JSON; the message says where."""


_Names = tuple[str | None, str | None]
"""Name and id of what is no event, each None where it is no string."""


class _RefusedError(Exception):
    def __init__(self, code: Code, message: str, legible: _Names | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.legible = legible


def judge(raw: bytes, index: int) -> Item:
    """One item of a body; raises NotJsonError where it is not JSON."""
    try:
        return _accept(raw)
    except _RefusedError as refusal:
        kept = raw[:KEPT_OF_REJECT] if refusal.code is Code.TOO_LARGE else raw
        message = str(refusal)[:_MAX_MESSAGE]
        name, own = refusal.legible or _legible(raw)
        return Reject(
            index,
            refusal.code,
            message,
            kept,
            len(raw),
            name if name and len(name) <= MAX_TEXT else None,
            own.lower() if own and is_uuid(own) else None,
        )


def judge_line(raw: bytes, index: int) -> Item:
    """One line of NDJSON: if it is not JSON, that line alone is rejected."""
    try:
        return judge(raw, index)
    except NotJsonError as error:
        return not_json(raw, f"the line is not JSON: {error}", index)


def not_json(raw: bytes, message: str, index: int = 0) -> Reject:
    """The reject that stands for a body, or a line, that is not JSON."""
    kept = raw[:KEPT_OF_REJECT]
    return Reject(index, Code.INVALID_JSON, message[:_MAX_MESSAGE], kept, len(raw))


def depth(raw: bytes) -> int:
    """How deeply JSON is nested; counts to MAX_DEPTH + 1 at most.

    Strings are dropped, then all but brackets, then the innermost pairs again and again: a few
    passes at memory's speed where a walk over the tokens would be Python's.
    """
    brackets = _STRINGS.sub(b"", raw).translate(_SQUARE, _NO_BRACKET)
    levels = 0
    while b"[]" in brackets and levels <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")
        levels += 1
    return levels


def _accept(raw: bytes) -> Accepted:
    """The event; raises _RefusedError and NotJsonError. What a glance does not pass is read again,
    closely: there is one place that refuses, and it is never in a hurry."""
    if len(raw) > MAX_EVENT:
        raise _RefusedError(
            Code.TOO_LARGE, f"the event has {len(raw)} bytes; at most {MAX_EVENT} are allowed"
        )
    if not raw.isascii():
        _require_utf8(raw)
    if _SQUARE_OPENS in raw or raw.find(_CURLY_OPENS, 1) != raw.rfind(_CURLY_OPENS):
        _require_shallow(raw)
    try:
        event = _glance(raw)
    except _UNREADABLE:
        return _accept_closely(raw)
    if event.id is not None and not is_uuid(event.id):
        return _accept_closely(raw)
    value = _implied_value(event)
    return _accept_closely(raw) if value is UNSET else Accepted(event, raw, value)


def _accept_closely(raw: bytes) -> Accepted:
    try:
        event = _decode_event(raw)
    except msgspec.ValidationError as error:
        raise _explain(raw, error) from error
    except _UNREADABLE as error:
        raise _unless_lenient(raw, str(error)) from error
    if event.id is not None and not is_uuid(event.id):
        raise _RefusedError(Code.INVALID_EVENT, "id is not a UUID in its form of 36 characters")
    return Accepted(event, raw, _derived_value(event))


def _derived_value(event: Event) -> float | None:
    """Checks the properties; gives the value that a typed event implies, if it does."""
    decode = _TYPED.get(event.event)
    if decode is None:
        first = bytes(event.properties)[:1]
        if first not in _OBJECT_OR_ABSENT:
            raise _RefusedError(Code.INVALID_EVENT, "properties is not a JSON object")
        return None
    try:
        typed = decode(event.properties if bytes(event.properties) else b"{}")
    except msgspec.ValidationError as error:
        raise _RefusedError(Code.INVALID_EVENT, f"properties of {event.event}: {error}") from error
    if event.value is not None:
        return None
    if isinstance(typed, HealthMetric):
        raise _RefusedError(Code.INVALID_EVENT, "health_metric needs a top-level value")
    return typed.duration_ms if isinstance(typed, ApiLatency) else None


def _require_shallow(raw: bytes) -> None:
    if len(raw.translate(None, _NO_OPENING)) > MAX_DEPTH and depth(raw) > MAX_DEPTH:
        raise _too_deep()


def _require_utf8(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 (byte {error.start})") from error


def _explain(raw: bytes, error: msgspec.ValidationError) -> _RefusedError:
    """msgspec names the first fault; an unknown field has a code of its own."""
    try:
        fields = _decode_fields(raw)
    except _UNREADABLE:
        return _RefusedError(Code.INVALID_EVENT, str(error))
    if "batch" in fields:
        return _RefusedError(
            Code.UNKNOWN_FIELD, "`batch` must be an array and the only field of its object"
        )
    for name in fields:
        if name not in _FIELDS:
            known = ", ".join(_FIELDS)
            return _RefusedError(
                Code.UNKNOWN_FIELD, f"unknown field `{name[:MAX_TEXT]}`; known are {known}"
            )
    return _RefusedError(Code.INVALID_EVENT, str(error))


def _unless_lenient(raw: bytes, fault: str) -> Exception:
    """JSON's grammar allows half a surrogate pair, which is no Unicode; browsers do send it."""
    try:
        fields = _decode_leniently(raw.decode())
    except ValueError:
        return NotJsonError(fault)
    except RecursionError:
        return _too_deep()
    legible: _Names = (None, None)
    if isinstance(fields, dict):
        legible = (_unicode(fields.get("event")), _unicode(fields.get("id")))
    return _RefusedError(Code.UNSTORABLE, "a string holds half of a surrogate pair", legible)


def _too_deep() -> _RefusedError:
    return _RefusedError(Code.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")


def _unicode(value: object) -> str | None:
    try:
        return value if isinstance(value, str) and value.encode() else None
    except UnicodeEncodeError:
        return None


def _legible(raw: bytes) -> _Names:
    try:
        fields = _decode_legible(raw)
    except _UNREADABLE:
        return None, None
    return _text(fields.event), _text(fields.id)


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _decode_text(raw)
    except _UNREADABLE:
        return None
