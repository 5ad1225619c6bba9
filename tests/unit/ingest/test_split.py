"""A body's items."""

import json
import time

import pytest
from argus_contract.judge import NotJsonError
from argus_ingest.errors import TooManyEventsError
from argus_ingest.split import MAX_VALUES, split, split_lines
from hypothesis import given
from hypothesis import strategies as st

text = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
spaced = st.sampled_from([None, 1])
DEEP = b"[" * 5_000 + b"]" * 5_000
HALF_PAIR = rb'{"event":"\ud83d"}'


@given(st.lists(values, max_size=8), st.booleans(), spaced)
def test_an_array_and_a_batch_give_their_items(
    items: list[object], in_batch: bool, indent: int | None
) -> None:
    body = json.dumps({"batch": items} if in_batch else items, indent=indent).encode()
    assert [json.loads(raw) for raw in split(body)] == items


@given(st.lists(values, max_size=8), st.integers(0, 8), st.booleans(), spaced)
def test_one_item_that_is_no_unicode_leaves_the_others_alone(
    items: list[object], place: int, in_batch: bool, indent: int | None
) -> None:
    marked = [*items[:place], "HALF", *items[place:]]
    body = json.dumps({"batch": marked} if in_batch else marked, indent=indent).encode()
    raws = split(body.replace(b'"HALF"', HALF_PAIR))
    assert raws[min(place, len(items))] == HALF_PAIR
    assert [json.loads(raw) for raw in raws if raw != HALF_PAIR] == items


def test_one_item_nested_too_deeply_leaves_the_others_alone() -> None:
    assert split(b'[{"event":"a"}, ' + DEEP + b' ,{"event":"b"}]') == [
        b'{"event":"a"}',
        DEEP,
        b'{"event":"b"}',
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"event":"a"}',
        b' {"event":"a","properties":{"batch":[1,2]}}',
        b'{"batch":[],"other":1}',
        b'{"batch":1}',
        b"42",
        b"",
        HALF_PAIR,
        DEEP[:5_000],
    ],
)
def test_anything_else_is_one_item(body: bytes) -> None:
    if body == DEEP[:5_000]:
        with pytest.raises(NotJsonError):
            split(body)
    else:
        assert split(body) == [body]


@pytest.mark.parametrize(
    "body",
    [
        b"[1,2",
        b"[1,2]]",
        b"[1,,2]",
        b"[1,2,]",
        b"[NaN]x",
        b'{"batch":[1,2}',
        b'{"batch":[1,2]]',
        b'["a]',
        b"[" + HALF_PAIR + b"},1]",
        b"[" + HALF_PAIR + b",]",
        b"[" + HALF_PAIR + b"] 1",
        b"[" * 300_000,
    ],
)
def test_a_body_that_does_not_close_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        split(body)


@given(st.binary(max_size=400))
def test_noise_splits_or_is_not_json(body: bytes) -> None:
    for start in (b"", b"[", b'{"batch":['):
        try:
            split(start + body)
        except NotJsonError:
            continue


@pytest.mark.parametrize("unit", [b"[],", b'"",', b'{"\\"', b'"\\"', b"\\"])
def test_no_body_takes_long(unit: bytes) -> None:
    body = b"[" + unit * (5 * 1024 * 1024 // len(unit))
    began = time.process_time()
    with pytest.raises((NotJsonError, TooManyEventsError)):
        split(body)
    assert time.process_time() - began < 2


def test_more_values_than_memory_is_for_are_refused_before_they_are_made() -> None:
    with pytest.raises(TooManyEventsError):
        split(b"[" + b"1," * MAX_VALUES + b"1]")
    with pytest.raises(TooManyEventsError):
        split_lines(b"\n" * (MAX_VALUES + 1))


def test_lines_that_are_blank_do_not_count() -> None:
    assert split_lines(b'\n{"a":1}\r\n  \n\n{"b":2}') == [b'{"a":1}\r', b'{"b":2}']
