"""Records in; rows, letters and gaps out: the stream's own judgement of what the log holds.

Ingest has judged JSON, types and sizes before it wrote a record. Here it is judged what ingest
cannot know: the pipeline's time window, what the database can hold, the pipeline's JSON Schemas,
and that a stranger may write to the topic. Nothing that is in a record may raise out of here: no
input stops the stream.
"""

import logging
import re
from binascii import unhexlify
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from argus_contract import envelope, headers, ids, screen, storable
from argus_contract.envelope import Body
from argus_contract.event_schemas import Validators
from argus_contract.events import ABSENT, MAX_TEXT
from argus_contract.rejects import Code, Step
from argus_contract.storable import Refusal
from argus_contract.window import Window

from argus_stream import copyrows, metrics
from argus_stream.slices import Letter, Replay, Slice
from argus_stream.sources import Record, Route

logger = logging.getLogger(__name__)

MAX_ERROR: Final = 1_000
"""Longest explanation that a letter carries, in characters."""

_CODES: Final = {code.value.encode(): code for code in Code}
_NO_PROPERTIES: Final = (bytes(ABSENT), b"null")
_PLACE: Final = re.compile(rb"[0-9]{1,10}/[0-9]{1,19}")
_ATTEMPT: Final = re.compile(rb"[1-9][0-9]{0,8}")
_decode = envelope.decode
_refusal = storable.refusal
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
    records: Sequence[Record],
    into: Slice,
    window: Window,
    validators: Validators | None = None,
    *,
    suspect: bool = False,
) -> None:
    """Appends what `records` are to `into`; those before its end were decoded already.

    `validators` are None where no event of the pipeline has a JSON Schema. `suspect` screens each
    record closely, where the database has lately refused some.
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
            if len(fields) > 1:
                _heed(fields, offset, into)
            by_id = headers.BY_ID in fields
            row = _event(record, by_id, window, validators, into.lease.route, suspect)
        except Rejected as verdict:
            _reject(record, identity, verdict, into)
        except Exception as error:  # a defect of ours stops no stream: it is a letter, and counted
            logger.exception("a record could not be judged", extra=_names(into, offset))
            _reject(record, identity, defect(error, Step.DECODE), into)
        else:
            rows.append(row)
            kept.append(record)
        into.end = offset + 1


def _heed(fields: dict[str, bytes], offset: int, into: Slice) -> None:
    """What headers beside the id say: raises Rejected for a reject of the edge's."""
    replay = replay_of(fields, into.lease.source.topic)
    if replay is not None:
        into.replays[offset] = replay
    if headers.REJECT in fields:
        raise _verdict_of_ingest(fields)


def replay_of(fields: Mapping[str, bytes], topic: str) -> Replay | None:
    """What a record of this topic replays; None where it replays nothing.

    A replay stays within its topic. What a stranger wrote into these headers makes no replay.
    """
    root = fields.get(headers.REPLAY_OF)
    if root is None:
        return None
    prefix = topic.encode() + b"/"
    attempt = fields.get(headers.ATTEMPT) or b""
    if (
        not root.startswith(prefix)
        or _PLACE.fullmatch(root, len(prefix)) is None
        or _ATTEMPT.fullmatch(attempt) is None
    ):
        return None
    return Replay(root.decode(), int(attempt))


def defect(error: Exception, step: Step) -> Rejected:
    """The verdict on a record that ARGUS itself failed on."""
    return Rejected(Code.INTERNAL, f"a defect of ARGUS: {error!r}", step)


def rescreen(piece: Slice) -> bool:
    """Makes letters of rows that a closer look finds unstorable; whether there were any."""
    found = [
        (index, number)
        for index, record in enumerate(piece.records)
        if (number := screen.unstorable_number(record.value or b"")) is not None
    ]
    for index, number in reversed(found):
        verdict = Rejected(*storable.bad_number(number))
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
    replay = into.replays.pop(record.offset, None)
    text = identity.decode("ascii", "replace")
    if ids.is_uuid(text):
        letter = _letter(record, text, verdict)
        letter.replay = replay
        into.letters.append(letter)
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


def _event(
    record: Record,
    by_id: bool,
    window: Window,
    validators: Validators | None,
    route: Route,
    suspect: bool,
) -> bytes:
    """The row of an event; raises Rejected."""
    value = record.value or b""
    try:
        found = _decode(value)
    except storable.UNDECODABLE as error:
        raise Rejected(*storable.undecodable(value, error)) from None
    time = found.time
    body = found.event
    refused = _refusal(value, found, window, closely=suspect)
    if refused is None and validators is not None:
        refused = _mismatch(body, validators, route)
    if refused is not None:
        rejected = Rejected(*refused)
        rejected.event = body.event.replace("\0", "\ufffd")[:MAX_TEXT]
        rejected.time = None if by_id else time
        raise rejected
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


def _mismatch(body: Body, validators: Validators, route: Route) -> Refusal | None:
    """Why the event's JSON Schema refuses it; where the pipeline only observes, it is counted."""
    message = validators.mismatch(body.event, body.properties)
    if message is None:
        return None
    tenant, pipeline = route.tenant.display, route.pipeline.name
    metrics.SCHEMA_MISMATCHES.labels(tenant, pipeline, body.event).inc()
    return Refusal(Code.SCHEMA, message) if validators.enforce else None


def _properties(raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    return None if text in _NO_PROPERTIES else text


def _names(into: Slice, offset: int) -> dict[str, object]:
    source = into.lease.source
    return {"topic": source.topic, "partition": source.partition, "offset": offset}
