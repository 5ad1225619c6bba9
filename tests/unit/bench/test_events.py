"""The load's bytes, as ingest and the ledger's check will read them."""

import json
import uuid
from collections import Counter
from typing import Any

import pytest
from argus_contract import ids

from bench import events
from bench.events import Requests

NOW = 1_790_000_000_123_456


def _split(request: bytes) -> tuple[dict[str, str], Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    _, *fields = head.decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (field.partition(": ") for field in fields)
    }
    assert int(headers["content-length"]) == len(body)
    return headers, json.loads(body)


def _requests(batch: int = 1, run: int = 7) -> Requests:
    return Requests(["argus_public_x"], [1.0], 1000, batch, run)


def test_a_single_event_has_some_400_bytes_and_ten_properties() -> None:
    supply = _requests()
    bodies = [supply.next(NOW).partition(b"\r\n\r\n")[2] for _ in range(1000)]
    assert 370 < sum(map(len, bodies)) / 1000 < 430
    assert {len(json.loads(body)["properties"]) for body in bodies} == {10}


def test_a_batch_is_an_array_of_distinct_events() -> None:
    _, batch = _split(_requests(batch=100).next(NOW))
    assert len(batch) == len({event["id"] for event in batch}) == 100
    assert len({json.dumps(event["properties"]) for event in batch}) > 90


def test_ids_are_uuids_of_their_time_that_name_run_and_number() -> None:
    supply = _requests(batch=3, run=0xABC)
    _, first = _split(supply.next(NOW))
    _, second = _split(supply.next(NOW + 5_000))
    for number, event in enumerate([*first, *second]):
        identity = uuid.UUID(event["id"])
        assert identity.version == 7
        assert identity.variant == uuid.RFC_4122
        assert event["id"][20:23] == "abc"
        assert int(event["id"][-12:], 16) == number
    assert supply.sent == 6
    assert uuid.UUID(first[0]["id"]).int >> 80 == NOW // 1000


def test_an_id_and_its_timestamp_are_of_the_same_millisecond() -> None:
    _, event = _split(_requests().next(NOW))
    assert event["timestamp"].startswith("2026-09-21T")
    assert uuid.UUID(event["id"]).int >> 80 == NOW // 1000
    assert ids.new_id(NOW)[:13] == event["id"][:13]


def test_no_id_of_a_time_is_below_its_lowest() -> None:
    _, event = _split(_requests().next(NOW))
    assert events.lowest_id(NOW) <= event["id"] < events.lowest_id(NOW + 1000)


def test_addresses_are_as_many_as_asked_and_take_turns() -> None:
    supply = _requests()
    seen = Counter(_split(supply.next(NOW))[0]["x-forwarded-for"] for _ in range(2000))
    assert len(seen) == 1000
    assert set(seen.values()) == {2}


def test_keys_have_the_traffic_that_their_weights_say() -> None:
    supply = Requests(["many", "few"], [9.0, 1.0], 10, 1, 0)
    seen = Counter(_split(supply.next(NOW))[0]["authorization"] for _ in range(10_000))
    assert seen["Bearer many"] / seen["Bearer few"] == pytest.approx(9, rel=0.2)


def test_the_same_run_sends_the_same_bytes() -> None:
    one, other = _requests(), _requests()
    assert [one.next(NOW) for _ in range(50)] == [other.next(NOW) for _ in range(50)]


@pytest.mark.parametrize("run", [-1, events.MAX_RUN])
def test_a_run_that_ids_have_no_room_for_is_refused(run: int) -> None:
    with pytest.raises(ValueError, match=str(run)):
        _requests(run=run)
