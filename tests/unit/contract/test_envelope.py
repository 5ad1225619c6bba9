"""What the edge splices, the stream decodes to the same event."""

from uuid import uuid4

import msgspec
import pytest
from argus_contract import envelope, splice
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)
floats = st.floats(allow_nan=False, allow_infinity=False)


@given(texts, st.integers(0, 1 << 52), st.integers(0, 1 << 52), st.none() | floats, floats)
def test_a_spliced_envelope_decodes_to_what_went_in(
    name: str, time: int, received: int, derived: float | None, own: float
) -> None:
    identifier = str(uuid4())
    event = msgspec.json.encode({"event": name, "value": own, "properties": {"a": [1]}})
    decoded = envelope.decode(splice.envelope(identifier, time, received, event, derived))
    assert (decoded.v, decoded.id, decoded.time, decoded.received) == (
        1,
        identifier,
        time,
        received,
    )
    assert decoded.event.event == name
    assert decoded.effective_value == own
    assert decoded.event.properties == msgspec.Raw(b'{"a":[1]}')


def test_the_derived_value_counts_where_the_event_has_none() -> None:
    decoded = envelope.decode(splice.envelope(str(uuid4()), 1, 2, b'{"event":"e"}', 12.5))
    assert decoded.effective_value == 12.5


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'{"v":1}', b"\xff"])
def test_what_is_no_envelope_is_refused(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        envelope.decode(value)
