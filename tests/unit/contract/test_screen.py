"""What PostgreSQL cannot hold, against Python's own JSON parser, which can."""

import json
from decimal import Decimal

import pytest
from argus_contract import screen
from hypothesis import given
from hypothesis import strategies as st

anything = st.characters(codec=None, exclude_categories=())
tricky = st.text(st.one_of(st.sampled_from('\0\\"/u0\ud800\udbff\udc00\udfff😀é'), anything))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | tricky,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tricky, inner, max_size=3),
    max_leaves=8,
)


def strings(value: object) -> list[str]:
    """Every string of a value, keys too."""
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in strings(item)]
        case dict():
            return [text for pair in value.items() for item in pair for text in strings(item)]
        case _:
            return []


def is_lone(text: str) -> bool:
    try:
        text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return True
    return False


@given(values)
def test_a_nul_is_found_where_there_is_one(value: object) -> None:
    encoded = json.dumps(value).encode()
    assert screen.has_nul(encoded) == any("\0" in text for text in strings(value))


@given(values)
def test_half_a_surrogate_pair_is_found_where_there_is_one(value: object) -> None:
    encoded = json.dumps(value).encode()
    assert screen.has_lone_surrogate(encoded) == any(
        is_lone(t) for t in strings(json.loads(encoded))
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (rb'"\\u0000"', False),
        (rb'"\\\u0000"', True),
        (rb'"\u00001"', True),
        (rb'"\u0001"', False),
    ],
)
def test_an_escaped_backslash_escapes_nothing_else(text: bytes, found: bool) -> None:
    assert screen.has_nul(text) is found


@given(st.binary(max_size=30))
def test_text_is_what_decodes(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        assert not screen.is_text(data)
    else:
        assert screen.is_text(data)


@pytest.mark.parametrize(
    "number",
    [
        "1e131073",
        "1e-16384",
        "1" * 131_073,
        "0." + "0" * 16_384 + "1",
        "-1e999999999999",
        "1E+200000",
    ],
)
def test_numbers_beyond_numeric_are_found(number: str) -> None:
    assert screen.unstorable_number(f'{{"a":[1,{number}]}}'.encode()) is not None


@pytest.mark.parametrize(
    "number",
    ["0", "-0.0", "1e131071", "1e-16383", "1" * 131_072, "1.5e-10", "12345678901234567890"],
)
def test_numbers_within_numeric_are_let_through(number: str) -> None:
    assert screen.unstorable_number(f'{{"a":{number}}}'.encode()) is None


def test_numbers_in_strings_are_text() -> None:
    assert screen.unstorable_number(rb'{"a":"1e999999","b\"1e999999":2}') is None


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_what_is_let_through_fits(number: Decimal) -> None:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if screen.unstorable_number(str(number).encode()) is None:
        assert number.is_zero() or number.adjusted() < screen.MAX_INTEGER_DIGITS
        assert -exponent <= screen.MAX_SCALE
