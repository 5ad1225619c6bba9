"""What the load sends is what it says that it sends: judged by the contract, as the edge does."""

import json
import zlib
from datetime import UTC, datetime

import pytest
from argus_contract.items import Accepted
from argus_contract.judge import NotJsonError, judge
from argus_contract.rejects import Code

from tests.chaos.traffic import NDJSON, Request, Shape, Traffic, digest, readable, written_ids

MANY = 400


def requests(shape: Shape, seed: int = 1) -> list[Request]:
    traffic = Traffic(shape, seed)
    return [traffic.next() for _ in range(MANY)]


def items(request: Request) -> list[bytes]:
    """The items of a body that is JSON, as the client wrote them."""
    body = request.body
    if request.encoding:
        body = zlib.decompress(body, 16 + zlib.MAX_WBITS)
    if request.content_type == NDJSON:
        return body.split(b"\n")
    if len(request.items) == 1 and not body.startswith(b"["):
        return [body]
    inner = body.removeprefix(b'{"batch":').removesuffix(b"}") if body[:2] == b'{"' else body
    return [b'{"id":' + part for part in inner[1:-1].removeprefix(b'{"id":').split(b',{"id":')]


@pytest.mark.parametrize("malformed", [0.0, 0.3, 1.0])
def test_the_edge_judges_every_item_as_expected(malformed: float) -> None:
    for request in requests(Shape(malformed=malformed)):
        if request.answer == 400:
            with pytest.raises(NotJsonError):
                judge(request.body, 0)
            continue
        written = items(request)
        assert len(written) == len(request.items)
        for raw, item in zip(written, request.items, strict=True):
            judged = judge(raw, 0)
            if isinstance(judged, Accepted):
                assert not item.at_edge
            else:
                assert item.at_edge
                assert judged.code == item.code
        assert (request.answer == 422) is all(item.at_edge for item in request.items)


def test_every_item_is_found_again_by_its_id() -> None:
    for request in requests(Shape(malformed=0.3)):
        for raw, item in zip(items(request), request.items, strict=True):
            assert next(written_ids(raw)) == item.id
            assert readable(item.id).encode() in raw


def test_what_must_become_a_row_is_known_by_its_content() -> None:
    for request in requests(Shape(malformed=0.3)):
        for raw, item in zip(items(request), request.items, strict=True):
            if item.code is not None:
                assert item.content == b""
                continue
            event = json.loads(raw)
            given = event.get("timestamp")
            moment = None if given is None else datetime.fromisoformat(given)
            own = (event["event"], event["distinct_id"], event.get("session_id"), moment)
            assert item.content == digest(*own, event["properties"])
            assert item.content != digest(*own, event["properties"] | {"element": "x"})
            assert item.content != digest(*own[:3], datetime.now(UTC), event["properties"])


def test_ids_are_never_given_twice() -> None:
    ids = [item.id for request in requests(Shape()) for item in request.items]

    assert len(ids) == len(set(ids))


def test_a_clock_that_is_hours_ahead_makes_dead_letters_of_timestamps() -> None:
    codes = {item.code for request in requests(Shape(skew=7200.0)) for item in request.items}

    assert Code.TOO_NEW in codes
    assert Code.UNSTORABLE not in codes
    assert None in codes  # an event that has an id alone has no time that could be refused


def test_a_hot_key_has_its_share() -> None:
    bodies = [request for request in requests(Shape(hot=0.9, malformed=0)) if not request.encoding]
    events = [json.loads(raw) for request in bodies for raw in items(request)]

    share = sum(event["distinct_id"] == "hot" for event in events) / len(events)

    assert 0.85 < share < 0.95
