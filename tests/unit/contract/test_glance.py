"""A glance spares a second look and never changes what the judge says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from argus_contract import glance
from argus_contract.events import TYPED, Fields
from argus_contract.items import Accepted
from argus_contract.judge import NotJsonError, judge
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.interpreted

UUID = "0190a5a0-1111-7222-8333-444455556666"
PROPERTIES: dict[str, dict[str, Any]] = {
    "page_view": {"url": "https://example.com/"},
    "click": {"element": "#buy"},
    "api_latency": {"route": "/", "method": "GET", "status": 200, "duration_ms": 12.5},
    "health_metric": {"metric": "cpu", "unit": "1"},
}
NEEDED = sorted({name for properties in PROPERTIES.values() for name in properties})


def outcome(raw: bytes) -> object:
    """All that the judge says, to the last bit: -0.0 is not 0.0, and 1 is not 1.0."""
    try:
        item = judge(raw, 3)
    except NotJsonError as error:
        return str(error)
    if isinstance(item, Accepted):
        fields = [getattr(item.event, name) for name in Fields.__struct_fields__]
        return repr(fields), item.raw, repr(item.value)
    return [getattr(item, name) for name in item.__slots__]


@contextmanager
def without_a_glance() -> Iterator[None]:
    with patch("argus_contract.judge._glance", side_effect=msgspec.DecodeError):
        yield


@contextmanager
def at_a_glance() -> Iterator[None]:
    with patch("argus_contract.judge._accept_closely", side_effect=AssertionError):
        yield


def same_either_way(raw: bytes) -> None:
    quick = outcome(raw)
    with without_a_glance():
        assert outcome(raw) == quick


def test_it_reads_what_typed_events_need_and_nothing_else() -> None:
    needed = {name for kind in TYPED.values() for name in kind.__struct_fields__}
    assert {*glance.Properties.__struct_fields__} == needed == {*NEEDED}
    assert PROPERTIES.keys() == TYPED.keys()


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "signup"},
        {"event": "signup", "properties": None},
        {"event": "signup", "properties": {"plan": "pro", "status": "paid", "url": None}},
        {"event": "größer", "id": UUID.upper(), "timestamp": "2026-01-01T00:00:00+05:30"},
        {"event": "x", "distinct_id": "u", "session_id": "s", "value": 1, "properties": {"a": [1]}},
        *({"event": n, "value": 1.5, "properties": p} for n, p in PROPERTIES.items()),
        {"event": "api_latency", "properties": PROPERTIES["api_latency"]},
        {"event": "api_latency", "properties": PROPERTIES["api_latency"] | {"duration_ms": 3}},
    ],
)
def test_an_ordinary_event_is_read_once(fields: dict[str, Any]) -> None:
    raw = json.dumps(fields, ensure_ascii=False).encode()
    with at_a_glance():
        assert isinstance(judge(raw, 0), Accepted)
    same_either_way(raw)


@pytest.mark.parametrize(
    ("event", "lacking"), [(event, name) for event, needs in PROPERTIES.items() for name in needs]
)
@pytest.mark.parametrize("instead", [None, True, [], {}, 7, 7.0, 7.5, "7"])
def test_a_typed_event_lacks_the_same_either_way(event: str, lacking: str, instead: object) -> None:
    whole = PROPERTIES[event]
    without = {name: value for name, value in whole.items() if name != lacking}
    for properties in (without, whole | {lacking: instead}):
        for value in ({}, {"value": 2}):
            fields = {"event": event, "properties": properties, **value}
            same_either_way(json.dumps(fields).encode())


@pytest.mark.parametrize("event", ["signup", *PROPERTIES])
@pytest.mark.parametrize("properties", [b"null", b"{}", b"[]", b"7", b'"{}"', b"{", b" {} "])
def test_properties_are_an_object_or_null_either_way(event: str, properties: bytes) -> None:
    same_either_way(b'{"event":"%b","value":1,"properties":%b}' % (event.encode(), properties))


strings = st.one_of(
    st.sampled_from(['"x"', '""', r'"\u0000"', r'"\ud83c\udf89"', r'"\ud800"', r'"\q"', '"\x01"']),
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
)
numbers = st.one_of(
    st.sampled_from(
        [
            *("0", "-0", "-0.0", "200", "200.0", "2e2", "1e400", "-1e400", "1e-400", "01", "NaN"),
            *("9223372036854775808", "18446744073709551616", "9" * 30, "9" * 400, "9" * 5_000),
        ]
    ),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
nested = st.sampled_from(['{"a":[{}]}', "[[1],[2]]", "[" * 99 + "]" * 99, '{"url":"x"}', "{"])
anything = st.one_of(strings, numbers, nested, st.sampled_from(["null", "true", "false", ""]))


@st.composite
def objects(draw: st.DrawFn, usual: dict[str, st.SearchStrategy[str]], spare: str) -> str:
    """An object with most of the usual members, some of them wrong, twice, or not expected."""
    odd = st.tuples(st.sampled_from([*usual, spare]), anything)
    members = [(name, draw(value)) for name, value in usual.items() if draw(st.integers(0, 9))]
    members += draw(st.just([]) | st.lists(odd, max_size=2))
    members = draw(st.permutations(members))
    return "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"


texts = st.just('"x"') | strings
lists_of_needs = {
    name: st.just("200") | numbers if name in ("status", "duration_ms") else texts
    for name in NEEDED
}
events = objects(
    {
        "event": st.sampled_from([f'"{name}"' for name in ("signup", *PROPERTIES)]),
        "id": st.sampled_from([f'"{UUID}"', f'"{UUID.upper()}"', "null"]),
        "timestamp": st.sampled_from(['"2026-01-01T00:00:00.1Z"', "null"]),
        "distinct_id": texts,
        "value": st.just("null") | numbers,
        "properties": objects(lists_of_needs, "other"),
    },
    "session_id",
)


@given(events)
@example('{"event":"page_view","properties":{"url":"x"},"properties":{}}')
@example('{"event":"page_view","properties":{"url":"x","url":null}}')
@example('{"event":"page_view","properties":{"url":7,"url":"x"}}')
@example(r'{"event":"page_view","properties":{"\u0075rl":"x"}}')
@example(r'{"event":"p\u0061ge_view"}')
@example('{"event":"signup","event":"page_view"}')
@example('{"event":"signup","colour":"red"}')
@example('{"event":"signup","timestamp":"2026-01-01T00:00:00"}')
@example(f'{{"event":"signup","id":"{UUID}\\n"}}')
def test_it_never_changes_what_the_judge_says(event: str) -> None:
    same_either_way(event.encode("utf-8", "surrogatepass"))
