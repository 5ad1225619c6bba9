"""What holds of every body that a client may send, however it was made.

The fuzz target looks for bytes that break it, and the unit tests hold its seeds against it.
"""

import json
from typing import Any, Final

import msgspec
from argus_contract import envelope, headers, records
from argus_contract.events import Event
from argus_contract.ids import is_uuid, new_ids
from argus_contract.items import Accepted, Reject
from argus_contract.judge import NotJsonError, judge, judge_line, not_json
from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_contract.sizes import DEAD_LETTER_OVERHEAD, KEPT_OF_REJECT, MAX_EVENT
from argus_ingest.errors import TooManyEventsError
from argus_ingest.split import split, split_lines

RECEIVED: Final = 1_800_000_000_000_000
PIPELINE: Final = Pipeline(
    uid="0123abcd",
    name="main",
    topic=TopicName("t"),
    dead_letter_topic=TopicName("t.dead"),
    partitions=1,
    schema="s",
    table="e",
    window=30 * 86_400,
    dedupe_window=86_400,
    retention_bytes=1 << 30,
    retention_seconds=7 * 86_400,
)
OF_THE_EDGE: Final = {
    Code.INVALID_JSON,
    Code.INVALID_EVENT,
    Code.UNKNOWN_FIELD,
    Code.TOO_LARGE,
    Code.TOO_DEEP,
    Code.UNSTORABLE,
}
_MAX_MESSAGE: Final = 500
_MAX_NAME: Final = 200


def check(body: bytes) -> None:
    """Takes a body the ways that a request may go; raises AssertionError where something is not as
    it must be, and whatever else the code under test raises that it must not."""
    try:
        for index, raw in enumerate(split(body)):
            try:
                _holds(judge(raw, index), raw, index)
            except NotJsonError as error:
                _rejected(not_json(body, str(error)), body, 0)
    except TooManyEventsError:
        return
    except NotJsonError as error:
        _rejected(not_json(body, str(error)), body, 0)
    for index, line in enumerate(split_lines(body)):
        _holds(judge_line(line, index), line, index)


def _holds(item: Accepted | Reject, raw: bytes, index: int) -> None:
    if isinstance(item, Reject):
        _rejected(item, raw, index)
    else:
        _accepted(item, raw)


def _accepted(item: Accepted, raw: bytes) -> None:
    event = item.event
    assert item.raw == raw
    assert len(raw) <= MAX_EVENT
    record = records.of_event(item, PIPELINE, RECEIVED, new_ids(RECEIVED))
    decoded = envelope.decode(record.value)
    assert decoded.v == envelope.VERSION
    assert decoded.received == RECEIVED
    assert is_uuid(decoded.id)
    assert event.id is None or decoded.id == event.id.lower()
    body = decoded.event
    assert (body.event, body.distinct_id, body.session_id, body.value) == (
        event.event,
        event.distinct_id,
        event.session_id,
        event.value,
    )
    assert bytes(body.properties) == bytes(msgspec.json.decode(raw, type=Event).properties)
    assert decoded.effective_value == (item.value if event.value is None else event.value)
    assert dict(record.headers)[headers.ID] == decoded.id.encode()
    # Another reader finds the same in it: what was sent, and nothing of ours displaced.
    assert _read(record.value)["event"] == _read(raw)
    assert _read(record.value)["id"] == decoded.id


def _rejected(reject: Reject, raw: bytes, index: int) -> None:
    assert reject.code in OF_THE_EDGE
    assert reject.index == index
    assert reject.size == len(raw)
    assert reject.raw == raw[: len(reject.raw)]
    assert len(reject.raw) in (len(raw), KEPT_OF_REJECT)
    assert 0 < len(reject.message) <= _MAX_MESSAGE
    assert reject.name is None or 0 < len(reject.name) <= _MAX_NAME
    assert reject.id is None or (is_uuid(reject.id) and reject.id == reject.id.lower())
    record = records.of_reject(reject, RECEIVED, new_ids(RECEIVED))
    carried = dict(record.headers)
    assert carried[headers.REJECT] == reject.code.encode()
    assert is_uuid(carried[headers.ID].decode())
    assert sum(len(name) + len(value) for name, value in record.headers) < DEAD_LETTER_OVERHEAD // 2
    assert record.value == reject.raw
    msgspec.json.encode({"message": reject.message, "name": reject.name})


def _read(raw: bytes) -> Any:
    return json.loads(raw, parse_int=float)
