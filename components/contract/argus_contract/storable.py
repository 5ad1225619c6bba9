"""Whether a record's value can be stored: the stream's judgement, and that of whoever replays.

What the edge has judged before it wrote the envelope is taken as right, but for the little that a
stranger who writes to the topic could get wrong. Pure: no I/O and no state.
"""

from typing import Final, NamedTuple

import msgspec

from argus_contract import envelope, ids, screen
from argus_contract.envelope import Envelope
from argus_contract.events import MAX_TEXT
from argus_contract.rejects import Code
from argus_contract.window import Window

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `envelope.decode` raises for bytes that are no envelope."""


class Refusal(NamedTuple):
    """Why an event is not stored: as a code and in words."""

    code: Code
    message: str


def undecodable(value: bytes, error: Exception) -> Refusal:
    """Why these bytes are no envelope; `error` is one of UNDECODABLE."""
    match error:
        case RecursionError():
            return Refusal(Code.TOO_DEEP, "nested too deep to be read")
        case msgspec.ValidationError():
            return Refusal(Code.INVALID_EVENT, f"no envelope: {error}")
        case _ if screen.has_lone_surrogate(value):
            return Refusal(Code.UNSTORABLE, "a string has half of a surrogate pair")
        case _:
            return Refusal(Code.INVALID_JSON, f"no JSON: {error}")


def refusal(value: bytes, found: Envelope, window: Window, *, closely: bool) -> Refusal | None:
    """Why the envelope `found` in `value` cannot be stored, None where it can.

    `closely` looks at each number too, which costs a pass over every byte.
    """
    if not window.oldest < found.time < window.newest:
        return Refusal(*window.refusal(found.time))
    if (b"\\" in value and screen.has_nul(value)) or not screen.is_text(value):
        return Refusal(Code.UNSTORABLE, "a string has a NUL, or bytes that are not UTF-8")
    if closely and (number := screen.unstorable_number(value)) is not None:
        return bad_number(number)
    fault = _fault(found, window)
    return None if fault is None else Refusal(Code.INVALID_EVENT, fault)


def of_value(value: bytes, window: Window) -> Refusal | None:
    """Why a record with this value would be refused, None where nothing here speaks against it."""
    try:
        found = envelope.decode(value)
    except UNDECODABLE as error:
        return undecodable(value, error)
    return refusal(value, found, window, closely=True)


def bad_number(number: str) -> Refusal:
    """The refusal of a number that begins like this."""
    return Refusal(Code.UNSTORABLE, f"a number that the database cannot hold: {number}…")


def _fault(found: Envelope, window: Window) -> str | None:
    """What the edge always writes right and somebody else wrote wrong."""
    body = found.event
    if found.v != envelope.VERSION:
        return f"envelope version {found.v} is unknown"
    if not ids.is_uuid(found.id):
        return "the envelope's id is no UUID"
    if not 0 <= found.received <= window.newest:
        return "the envelope's time of receipt is impossible"
    if (
        not 0 < len(body.event) <= MAX_TEXT
        or len(body.distinct_id or "") > MAX_TEXT
        or len(body.session_id or "") > MAX_TEXT
    ):
        return f"event, distinct_id or session_id is empty or longer than {MAX_TEXT} characters"
    return None
