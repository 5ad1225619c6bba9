import json

import pytest
from argus_cli.sighting import Sighting, seen
from argus_contract import headers, splice
from argus_contract.headers import Header
from argus_contract.ids import new_id
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.dead_letters import NOW

ID = new_id(NOW)


def sighting(body: bytes, *marks: Header) -> Sighting:
    value = splice.envelope(ID, NOW - 1_000_000, NOW, body)
    return seen("shop/web", "t/0/1", value, [(headers.ID, ID.encode()), *marks], NOW // 1000)


def test_an_event_is_one_line() -> None:
    body = b'{"event":"click","distinct_id":"me","properties":{"element":"buy","n":2}}'

    line = sighting(body).line()

    assert line == "08:00:00.000  shop/web  click  me  element=buy n=2"


def test_an_event_is_one_document() -> None:
    body = b'{"event":"click","session_id":"s","value":2.5,"properties":{"element":"buy"}}'

    document = json.loads(sighting(body, (headers.REPLAY_OF, b"t/0/0")).document())

    assert document == {
        "pipeline": "shop/web",
        "place": "t/0/1",
        "received": "2027-01-15T08:00:00.000000Z",
        "event": "click",
        "id": ID,
        "time": "2027-01-15T07:59:59.000000Z",
        "distinct_id": None,
        "session_id": "s",
        "value": 2.5,
        "properties": {"element": "buy"},
        "replay_of": "t/0/0",
    }


def test_a_reject_is_marked() -> None:
    marks = [(headers.REJECT, b"too_deep"), (headers.ERROR, b"why"), (headers.EVENT, b"click")]

    found = seen("shop/web", "t/0/1", b"[[[", marks, NOW // 1000)

    assert found.line() == "08:00:00.000  shop/web  click  REJECTED too_deep: why"
    assert json.loads(found.document())["rejected"] == "too_deep"


def test_what_a_stranger_wrote_is_marked() -> None:
    found = seen("shop/web", "t/0/1", b"hello", [], NOW // 1000)

    assert "REJECTED unreadable: no JSON" in found.line()


def test_what_a_client_wrote_cannot_play_with_the_terminal() -> None:
    body = b'{"event":"\\u001b[2Jx","distinct_id":"a\\nb","properties":{"a":"\\u0007"}}'

    line = sighting(body).line()

    assert line.isprintable()
    assert "\\x1b[2Jx" in line


@pytest.mark.parametrize("micros", [-(1 << 62), 1 << 62])
def test_a_time_that_no_calendar_has_is_told_as_a_number(micros: int) -> None:
    value = splice.envelope(ID, micros, micros, b'{"event":"a"}')

    found = seen("shop/web", "t/0/1", value, [], NOW // 1000)

    assert "shop/web" in found.line()
    assert json.loads(found.document())["time"] == micros


def test_long_properties_are_cut() -> None:
    line = sighting(b'{"event":"a","properties":{"a":"%b"}}' % (b"x" * 5_000)).line()

    assert len(line) < 250
    assert line.endswith("…")


@given(
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from([headers.REJECT, headers.ERROR, headers.EVENT, headers.REPLAY_OF]),
            st.binary(max_size=20),
        )
    ),
)
def test_no_record_breaks_it(value: bytes, marks: list[Header]) -> None:
    found = seen("shop/web", "t/0/1", value, marks, NOW // 1000)

    assert found.line().isprintable()
    assert json.loads(found.document())["pipeline"] == "shop/web"
