"""Records in; rows, letters and gaps out: the stream's own judgement of what the log holds.

Ingest has judged JSON, types and sizes before it wrote a record. Here it is judged what ingest
cannot know: the pipeline's time window, what the database can hold, and that a stranger may write
to the topic. Nothing that is in a record may raise out of here: no input stops the stream.
"""

from binascii import unhexlify
from collections.abc import Sequence
from typing import Final

import msgspec
from argus_contract import envelope, headers, ids, screen
from argus_contract.events import ABSENT, MAX_TEXT
from argus_contract.rejects import Code, Step
from argus_contract.window import Window

from argus_stream import copyrows
from argus_stream.slices import Letter, Slice
from argus_stream.sources import Record

MAX_ERROR: Final = 1_000
"""Longest explanation that a letter carries, in characters."""

_CODES: Final = {code.value.encode(): code for code in Code}
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_PROPERTIES: Final = (bytes(ABSENT), b"null")
_decode = envelope.decode
_row = copyrows.row


class Rejected(Exception):  # noqa: N818  # a verdict, not an error
    """Our record, but not to be stored."""

    def __init__(self, code: Code, message: str, step: Step = Step.DECODE) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.step = step
        self.event: str | None = None
        self.time: int | None = None


def decode(
    records: Sequence[Record], into: Slice, window: Window, *, suspect: bool = False
) -> None:
    """Appends what `records` are to `into`; those before its end were decoded already.

    `suspect` screens each record closely, where the database has lately refused some.
    """
    rows, kept = into.rows, into.records
    for record in records:
        offset = record.offset
        if offset != into.end:
            if offset < into.end:
                continue
            into.skip_to(offset)
        fields = dict(record.headers)
        identity = fields.get(headers.ID)
        if not identity:
            into.skip_to(offset + 1)
            continue
        try:
            if headers.REJECT in fields:
                raise _verdict_of_ingest(fields)
            row = _event(record, headers.BY_ID in fields, window, suspect)
        except Rejected as verdict:
            _reject(record, identity, verdict, into)
        else:
            rows.append(row)
            kept.append(record)
        into.end = offset + 1


def rescreen(piece: Slice) -> bool:
    """Makes letters of rows that a closer look finds unstorable; whether there were any."""
    found = [
        (index, number)
        for index, record in enumerate(piece.records)
        if (number := screen.unstorable_number(record.value or b"")) is not None
    ]
    for index, number in reversed(found):
        verdict = _bad_number(number)
        piece.withdraw(index, letter_of(piece.records[index], verdict))
    return bool(found)


def letter_of(record: Record, verdict: Rejected) -> Letter:
    """The letter for a record that had been decoded as an event before it was found wanting."""
    found = _decode(record.value or b"")
    verdict.event = found.event.event
    if headers.get(record.headers, headers.BY_ID) is None:
        verdict.time = found.time
    return _letter(record, found.id, verdict)


def _letter(record: Record, identity: str, verdict: Rejected) -> Letter:
    return Letter(
        record=record,
        id=identity.lower(),
        code=verdict.code,
        step=verdict.step,
        error=verdict.message[:MAX_ERROR],
        event=verdict.event,
        time=verdict.time,
    )


def _reject(record: Record, identity: bytes, verdict: Rejected, into: Slice) -> None:
    text = identity.decode("ascii", "replace")
    if ids.is_uuid(text):
        into.letters.append(_letter(record, text, verdict))
    else:
        into.skip_to(record.offset + 1)


def _verdict_of_ingest(fields: dict[str, bytes]) -> Rejected:
    code = _CODES.get(fields[headers.REJECT])
    error = (fields.get(headers.ERROR) or b"").decode("utf-8", "replace")
    if code is None:
        return Rejected(Code.INVALID_EVENT, "reject header with an unknown code")
    verdict = Rejected(code, error, Step.INGEST)
    event = fields.get(headers.EVENT)
    if event:
        verdict.event = event.decode("utf-8", "replace").replace("\0", "\ufffd")[:MAX_TEXT]
    return verdict


def _event(record: Record, by_id: bool, window: Window, suspect: bool) -> bytes:
    """The row of an event; raises Rejected."""
    value = record.value or b""
    try:
        found = _decode(value)
    except _DECODE_ERRORS as error:
        raise _undecodable(value, error) from None
    time = found.time
    body = found.event
    try:
        if not window.oldest < time < window.newest:
            raise Rejected(*window.refusal(time))
        if (b"\\" in value and screen.has_nul(value)) or not screen.is_text(value):
            raise Rejected(Code.UNSTORABLE, "a string has a NUL, or bytes that are not UTF-8")
        if suspect and (number := screen.unstorable_number(value)) is not None:
            raise _bad_number(number)
        _check(found, window)
        return _row(
            record.offset,
            unhexlify(found.id.replace("-", "")),
            time,
            found.received,
            by_id,
            body.event,
            body.distinct_id,
            body.session_id,
            found.effective_value,
            _properties(body.properties),
        )
    except Rejected as verdict:
        verdict.event = body.event.replace("\0", "\ufffd")[:MAX_TEXT]
        verdict.time = None if by_id else time
        raise


def _check(found: envelope.Envelope, window: Window) -> None:
    """What ingest always writes right: raises Rejected for what somebody else wrote wrong."""
    body = found.event
    if found.v != envelope.VERSION:
        raise Rejected(Code.INVALID_EVENT, f"envelope version {found.v} is unknown")
    if not ids.is_uuid(found.id):
        raise Rejected(Code.INVALID_EVENT, "the envelope's id is no UUID")
    if not 0 <= found.received <= window.newest:
        raise Rejected(Code.INVALID_EVENT, "the envelope's time of receipt is impossible")
    if (
        not 0 < len(body.event) <= MAX_TEXT
        or len(body.distinct_id or "") > MAX_TEXT
        or len(body.session_id or "") > MAX_TEXT
    ):
        raise Rejected(
            Code.INVALID_EVENT,
            f"event, distinct_id or session_id is empty or longer than {MAX_TEXT} characters",
        )


def _properties(raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    return None if text in _NO_PROPERTIES else text


def _undecodable(value: bytes, error: Exception) -> Rejected:
    match error:
        case RecursionError():
            return Rejected(Code.TOO_DEEP, "nested too deep to be read")
        case msgspec.ValidationError():
            return Rejected(Code.INVALID_EVENT, f"no envelope: {error}")
        case _ if screen.has_lone_surrogate(value):
            return Rejected(Code.UNSTORABLE, "a string has half of a surrogate pair")
        case _:
            return Rejected(Code.INVALID_JSON, f"no JSON: {error}")


def _bad_number(number: str) -> Rejected:
    return Rejected(Code.UNSTORABLE, f"a number that the database cannot hold: {number}…")
