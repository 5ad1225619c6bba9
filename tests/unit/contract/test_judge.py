"""Events and rejects."""

import json
import time
from typing import Any

import pytest
from argus_contract import envelope, splice
from argus_contract.items import Accepted, Reject
from argus_contract.judge import NotJsonError, depth, judge, judge_line, not_json
from argus_contract.rejects import Code
from argus_contract.sizes import KEPT_OF_REJECT, MAX_DEPTH, MAX_EVENT
from hypothesis import given
from hypothesis import strategies as st

UUID = "0190a5a0-1111-7222-8333-444455556666"


def rejected(raw: bytes) -> Reject:
    item = judge(raw, 3)
    assert isinstance(item, Reject), item
    assert item.index == 3
    return item


def accepted(raw: bytes) -> Accepted:
    item = judge(raw, 0)
    assert isinstance(item, Accepted), item
    return item


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "signup"},
        {"event": "signup", "properties": None},
        {"event": "signup", "properties": {}},
        {"event": "signup", "id": UUID, "timestamp": "2026-01-01T00:00:00.123456789+05:30"},
        {"event": "signup", "id": UUID.upper(), "distinct_id": "u", "session_id": "s", "value": 1},
        {"event": "page_view", "properties": {"url": "https://example.com/", "more": [1]}},
        {"event": "click", "properties": {"element": "#buy"}},
        {"event": "health_metric", "value": 0.5, "properties": {"metric": "cpu", "unit": "1"}},
        {"event": "ünïcode \u0000 🎉", "properties": {"nul": "\u0000"}},
    ],
)
def test_events(fields: dict[str, Any]) -> None:
    for body in (
        json.dumps(fields),
        json.dumps(fields, indent=2),
        json.dumps(fields, ensure_ascii=False),
    ):
        raw = body.encode()
        item = accepted(raw)
        assert item.raw == raw
        assert item.event.event == fields["event"]


def test_api_latency_implies_its_value_where_it_has_none() -> None:
    properties = {"route": "/", "method": "GET", "status": 200, "duration_ms": 12.5}
    assert (
        accepted(json.dumps({"event": "api_latency", "properties": properties}).encode()).value
        == 12.5
    )
    own = {"event": "api_latency", "value": 1, "properties": properties}
    assert accepted(json.dumps(own).encode()).value is None


@pytest.mark.parametrize(
    ("raw", "code", "says"),
    [
        (b"{}", Code.INVALID_EVENT, "`event`"),
        (b"42", Code.INVALID_EVENT, "object"),
        (b"null", Code.INVALID_EVENT, "object"),
        (b'{"event":""}', Code.INVALID_EVENT, "$.event"),
        (b'{"event":5}', Code.INVALID_EVENT, "$.event"),
        (b'{"event":"' + b"x" * 201 + b'"}', Code.INVALID_EVENT, "200"),
        (b'{"event":"x","id":"123"}', Code.INVALID_EVENT, "UUID"),
        (b'{"event":"x","id":5}', Code.INVALID_EVENT, "$.id"),
        (b'{"event":"x","timestamp":"2026-01-01T00:00:00"}', Code.INVALID_EVENT, "timezone"),
        (b'{"event":"x","timestamp":"yesterday"}', Code.INVALID_EVENT, "$.timestamp"),
        (b'{"event":"x","timestamp":1767225600}', Code.INVALID_EVENT, "$.timestamp"),
        (b'{"event":"x","value":"1"}', Code.INVALID_EVENT, "$.value"),
        (b'{"event":"x","value":1e999}', Code.INVALID_EVENT, "range"),
        (b'{"event":"x","value":1' + b"0" * 400 + b"}", Code.INVALID_EVENT, "range"),
        (b'{"event":"x","properties":[1]}', Code.INVALID_EVENT, "properties"),
        (b'{"event":"x","properties":"{}"}', Code.INVALID_EVENT, "properties"),
        (b'{"event":"page_view"}', Code.INVALID_EVENT, "`url`"),
        (b'{"event":"page_view","properties":null}', Code.INVALID_EVENT, "`object`"),
        (b'{"event":"page_view","properties":{"url":1}}', Code.INVALID_EVENT, "$.url"),
        (b'{"event":"click","properties":{}}', Code.INVALID_EVENT, "`element`"),
        (b'{"event":"api_latency","properties":{"route":"/"}}', Code.INVALID_EVENT, "`method`"),
        (
            b'{"event":"health_metric","properties":{"metric":"m","unit":"u"}}',
            Code.INVALID_EVENT,
            "value",
        ),
        (b'{"event":"x","user_id":"u"}', Code.UNKNOWN_FIELD, "`user_id`"),
        (b'{"batch":[],"sent_at":1}', Code.UNKNOWN_FIELD, "`batch`"),
        (b'{"event":"\\ud800"}', Code.UNSTORABLE, "surrogate"),
        (b'{"event":"x","properties":{"a":"\\udc00x"}}', Code.UNSTORABLE, "surrogate"),
        (b'{"event":"\\ud800","a":' + b"9" * 5_000 + b"}", Code.UNSTORABLE, "surrogate"),
    ],
)
def test_rejects(raw: bytes, code: Code, says: str) -> None:
    item = rejected(raw)
    assert (item.code, item.raw, item.size) == (code, raw, len(raw))
    assert says in item.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"event":"x"} x',
        b"{'event':'x'}",
        b'{"event":"x","value":NaN}',
        b'{"event":"x","properties":{"a":-Infinity}}',
        b'{"event":"x","properties":{"a":01}}',
        b'{"event":"x","properties":{"a":"\x01"}}',
        b'{"event":"x","properties":{"a":"\\q"}}',
        b'{"event":"\\ud800","value":NaN}',
        b'{"event":"\xff"}',
        b'{"event":"x","properties":{"a":"\xff"}}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json(raw: bytes) -> None:
    with pytest.raises(NotJsonError):
        judge(raw, 0)
    line = judge_line(raw, 7)
    assert isinstance(line, Reject)
    assert (line.code, line.index, line.raw) == (Code.INVALID_JSON, 7, raw)


def test_the_last_of_two_equal_fields_counts_here_and_for_the_stream() -> None:
    item = accepted(b'{"event":"a","event":"b"}')
    assert item.event.event == "b"
    assert envelope.decode(splice.envelope(UUID, 1, 2, item.raw)).event.event == "b"


def test_the_name_of_a_reject_is_kept_where_it_is_legible() -> None:
    assert rejected(b'{"event":"click"}').name == "click"
    assert rejected(b'{"event":"click","bogus":1}').name == "click"
    assert rejected(b'{"event":"click","properties":{"a":"\\ud800"}}').name == "click"
    assert rejected(b'{"event":"\\ud800"}').name is None
    assert rejected(b'["\\ud800"]').name is None
    assert rejected(b'{"event":7}').name is None
    assert rejected(b'{"event":"' + b"x" * 201 + b'"}').name is None
    assert rejected(b"[]").name is None


@pytest.mark.parametrize(
    ("raw", "own"),
    [
        (b'{"event":"click","id":"%b"}', UUID),
        (b'{"id":"%b","bogus":1}', UUID),
        (b'{"event":7,"id":"%b"}', UUID),
        (b'{"event":[{"id":1}],"id":"%b"}', UUID),
        (b'{"event":"a","id":"1","id":"%b","x":1}', UUID),
        (b'{"event":"x","id":"%b","properties":{"a":"\\ud800"}}', UUID),
        (b'{"event":"click","id":"%b "}', None),
        (b'{"event":"click","id":["%b"]}', None),
        (b'{"event":"click","properties":{"id":"%b"}}', None),
        (b'[{"event":"click","id":"%b"}]', None),
    ],
)
def test_the_id_of_a_reject_is_kept_where_it_is_legible(raw: bytes, own: str | None) -> None:
    assert rejected(raw % UUID.encode()).id == own
    assert rejected(raw % UUID.upper().encode()).id == own


def test_a_large_or_deep_event_keeps_its_id() -> None:
    for inner in (b'"' + b"y" * MAX_EVENT + b'"', b"[" * 200 + b"]" * 200):
        raw = b'{"id":"%b","event":"x","properties":{"a":%b}}' % (UUID.encode(), inner)
        assert rejected(raw).id == UUID


def test_a_large_event_is_cut_and_keeps_its_name() -> None:
    raw = b'{"event":"x","properties":{"a":"' + b"y" * MAX_EVENT + b'"}}'
    item = rejected(raw)
    assert (item.code, item.size, item.name) == (Code.TOO_LARGE, len(raw), "x")
    assert item.raw == raw[:KEPT_OF_REJECT]


def test_the_largest_event_is_an_event() -> None:
    raw = b'{"event":"x","properties":{"a":"%b"}}'
    room = MAX_EVENT - len(raw % b"")
    accepted(raw % (b"y" * room))
    rejected(raw % (b"y" * (room + 1)))


def nested(levels: int, inner: bytes = b"") -> bytes:
    """An event with so many levels in all."""
    lists = levels - 2
    return b'{"event":"x","properties":{"a":' + b"[" * lists + inner + b"]" * lists + b"}}"


def test_the_deepest_nesting_allowed() -> None:
    many = b'{"a":[]},' * 200 + b"1"
    accepted(nested(MAX_DEPTH))
    accepted(nested(MAX_DEPTH - 2, many))
    for raw in (nested(MAX_DEPTH + 1), nested(MAX_DEPTH - 1, many), nested(5_000), nested(100_000)):
        assert rejected(raw).code is Code.TOO_DEEP


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("lead", [b"", b" "])
def test_either_bracket_is_a_level(opening: bytes, closing: bytes, lead: bytes) -> None:
    for levels in (MAX_DEPTH, MAX_DEPTH + 1):
        inner = opening * (levels - 2) + b"1" + closing * (levels - 2)
        raw = lead + b'{"event":"x","properties":{"a":' + inner + b"}}"
        item = judge(raw, 0)
        assert isinstance(item, Accepted) == (levels == MAX_DEPTH)
        assert isinstance(item, Accepted) or item.code is Code.TOO_DEEP


def test_brackets_in_strings_are_no_nesting() -> None:
    accepted(
        b'{"event":"x","properties":{"a":"' + b"[" * 500 + b'\\"[","b":"' + b"{" * 500 + b'"}}'
    )


plain = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("[{", max_size=2), inner, max_size=3)
    ),
    max_leaves=20,
)


def levels_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels_of, value), default=0)
    return 0


@given(plain)
def test_depth_is_the_depth(value: Any) -> None:
    assert depth(json.dumps(value).encode()) == levels_of(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * (MAX_EVENT // 2) + b"]" * (MAX_EVENT // 2),
        (b"[" * 99 + b"]" * 99 + b",") * (MAX_EVENT // 199),
        b'"\\"' * (MAX_EVENT // 3),
        b"{" * MAX_EVENT,
        b'{"a":' * (MAX_EVENT // 5),
    ],
)
def test_no_event_takes_long(raw: bytes) -> None:
    began = time.process_time()
    judge_line(raw, 0)
    assert time.process_time() - began < 0.5


def test_a_body_that_is_not_json_is_cut() -> None:
    item = not_json(b"x" * (KEPT_OF_REJECT + 1), "why" * 1_000)
    assert (len(item.raw), item.size, len(item.message)) == (
        KEPT_OF_REJECT,
        KEPT_OF_REJECT + 1,
        500,
    )


@given(st.binary(max_size=300))
def test_every_line_is_an_event_or_a_reject(raw: bytes) -> None:
    for start in (b"", b'{"event":"x",', b'{"event":"x","properties":{'):
        judge_line(start + raw, 0)
