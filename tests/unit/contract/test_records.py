"""What is fixed before the first send."""

import json

import pytest
from argus_contract import envelope, headers
from argus_contract.ids import new_id, new_ids
from argus_contract.items import Accepted, Reject
from argus_contract.judge import judge
from argus_contract.records import Record, of_event, of_reject
from argus_contract.rejects import Code
from argus_contract.times import SECOND

from tests.unit.ingest.helpers import NOW, pipeline

DAY = 86_400 * SECOND
V4 = "11111111-2222-4333-8444-555555555555"


def event(**fields: object) -> Record:
    item = judge(json.dumps({"event": "x", **fields}).encode(), 0)
    assert isinstance(item, Accepted)
    return of_event(item, pipeline(), NOW, new_ids(NOW))


def test_an_event_without_id_and_time_gets_both() -> None:
    record = event()
    decoded = envelope.decode(record.value)
    assert (decoded.time, decoded.received) == (NOW, NOW)
    assert record.headers == [(headers.ID, decoded.id.encode())]
    assert event().headers != record.headers


def test_a_timestamp_is_the_time() -> None:
    for fields in ({}, {"id": V4}, {"id": new_id(NOW)}):
        record = event(timestamp="2026-01-01T01:00:00.000001+01:00", **fields)
        assert envelope.decode(record.value).time == 1_767_225_600_000_001
        assert headers.get(record.headers, headers.BY_ID) is None


def test_an_id_with_a_time_of_its_own_needs_no_timestamp() -> None:
    then = NOW - 2 * DAY
    record = event(id=new_id(then).upper())
    decoded = envelope.decode(record.value)
    assert decoded.time == then
    assert decoded.id == decoded.id.lower()
    assert headers.get(record.headers, headers.BY_ID) is None


@pytest.mark.parametrize(
    "given", [V4, new_id(NOW - 31 * DAY), new_id(NOW + 3_601 * SECOND), new_id(NOW - 30 * DAY)]
)
def test_any_other_id_goes_by_id(given: str) -> None:
    record = event(id=given)
    assert envelope.decode(record.value).time == NOW
    assert headers.get(record.headers, headers.BY_ID) == b"1"
    assert headers.get(record.headers, headers.ID) == given.encode()


@pytest.mark.parametrize("ahead", [61, 3_599, -30 * 86_400 + 3_599])
def test_an_id_whose_time_is_near_the_windows_ends_goes_by_id_with_its_own_time(ahead: int) -> None:
    own = NOW + ahead * SECOND

    record = event(id=new_id(own))

    assert envelope.decode(record.value).time == own // 1000 * 1000
    assert headers.get(record.headers, headers.BY_ID) == b"1"


@pytest.mark.parametrize("ahead", [59, -30 * 86_400 + 3_601 + 86_400])
def test_an_id_whose_time_is_well_inside_the_window_does_not(ahead: int) -> None:
    record = event(id=new_id(NOW + ahead * SECOND))

    assert headers.get(record.headers, headers.BY_ID) is None


@pytest.mark.parametrize("later", [1, 5, 600, 3_500])
def test_a_resend_goes_by_id_where_the_window_has_come_to_its_time_meanwhile(later: int) -> None:
    """A clock that is an hour ahead: outside of the window at first, inside of it at the resend."""
    item = judge(json.dumps({"event": "x", "id": new_id(NOW + 3_600_500_000)}).encode(), 0)
    assert isinstance(item, Accepted)

    for moment in (NOW, NOW + later * SECOND):
        record = of_event(item, pipeline(), moment, new_ids(moment))
        assert headers.get(record.headers, headers.BY_ID) == b"1"


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({}, None),
        ({"session_id": "s"}, b"s"),
        ({"session_id": "s", "distinct_id": "d"}, b"d"),
        ({"session_id": "s", "distinct_id": ""}, b"s"),
        ({"distinct_id": "ü"}, "ü".encode()),
    ],
)
def test_the_key_is_the_person_else_the_session(fields: dict[str, str], key: bytes | None) -> None:
    assert event(**fields).key == key


def test_the_clients_bytes_are_spliced_in() -> None:
    raw = b'{ "event" : "x", "properties": {"n": 1e400, "\\u00fc": "\xc3\xbc"} }'
    item = judge(raw, 0)
    assert isinstance(item, Accepted)
    assert raw in of_event(item, pipeline(), NOW, new_ids(NOW)).value


def test_a_derived_value_is_in_the_envelope() -> None:
    properties = {"route": "/", "method": "GET", "status": 200, "duration_ms": 7}
    record = event(event="api_latency", properties=properties)
    assert envelope.decode(record.value).effective_value == 7


def test_a_reject_keeps_its_bytes_and_says_why() -> None:
    record = of_reject(Reject(2, Code.INVALID_EVENT, "grüße", b"{}", 2, "click"), NOW, new_ids(NOW))
    found = dict(record.headers)
    assert record.value == b"{}"
    assert record.key is None
    assert found.pop(headers.ID)
    assert found == {
        headers.REJECT: b"invalid_event",
        headers.RECEIVED: b"%d" % NOW,
        headers.ERROR: "grüße".encode(),
        headers.EVENT: b"click",
    }


def test_a_reject_sent_again_has_the_same_id_where_the_client_gave_one() -> None:
    own = "0190a5a0-1111-7222-8333-444455556666"
    raw = b'{"event":"click","id":"%b"}' % own.upper().encode()
    ids = []
    for moment in (NOW, NOW + 1):
        item = judge(raw, 0)
        assert isinstance(item, Reject)
        record = of_reject(item, moment, new_ids(moment))
        ids.append(headers.get(record.headers, headers.ID))
    assert ids == [own.encode()] * 2


def test_a_cut_reject_says_how_large_it_was() -> None:
    record = of_reject(Reject(0, Code.TOO_LARGE, "m", b"{}", 300_000), NOW, new_ids(NOW))
    assert headers.get(record.headers, headers.TRUNCATED) == b"300000"
    assert headers.get(record.headers, headers.EVENT) is None
