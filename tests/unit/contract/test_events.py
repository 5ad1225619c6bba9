"""Strict about what would lose meaning, free with what is the client's own."""

import msgspec
import pytest
from argus_contract.events import ABSENT, TYPED, Event

decode = msgspec.json.Decoder(Event).decode


def test_properties_are_left_as_the_client_wrote_them() -> None:
    event = decode(b'{"event":"signup","properties":{ "b":1, "a":[ ] }}')
    assert event.properties == msgspec.Raw(b'{ "b":1, "a":[ ] }')


def test_absent_properties_differ_from_null() -> None:
    assert decode(b'{"event":"e"}').properties == ABSENT
    assert decode(b'{"event":"e","properties":null}').properties == msgspec.Raw(b"null")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"event":"e","colour":"red"}', "unknown field `colour`"),
        (b"{}", "missing required field `event`"),
        (b'{"event":""}', r"length >= 1 - at `\$.event`"),
        (b'{"event":7}', r"Expected `str`, got `int` - at `\$.event`"),
        (b'{"event":"e","timestamp":"2026-01-01T00:00:00"}', "timezone"),
        (b'{"event":"e","value":"3"}', r"at `\$.value`"),
        (b'{"event":"e","value":NaN}', "malformed"),
        (b'{"event":"e","value":1e999}', "out of range"),
    ],
)
def test_the_message_names_what_is_wrong(body: bytes, says: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=says):
        decode(body)


def test_typed_events_are_the_four_that_the_documentation_names() -> None:
    assert set(TYPED) == {"page_view", "click", "api_latency", "health_metric"}
