import json
from collections import Counter
from itertools import chain
from typing import Any

from argus_cli.tally import Request
from argus_cli.traffic import NDJSON, Traffic
from argus_contract.events import TYPED

NOW = 1_764_000_000_000_000
RUN = "c0ffee"


def made(seed: int = 1, seconds: int = 8, rate: int = 100) -> list[Request]:
    traffic = Traffic(RUN, rate, seed, lambda: NOW)
    return list(
        chain.from_iterable(
            traffic.second(with_mistake=second % 2 == 1) for second in range(seconds)
        )
    )


def events(request: Request) -> list[dict[str, Any]]:
    if request.content_type == NDJSON:
        return [json.loads(line) for line in request.body.splitlines()]
    body = json.loads(request.body)
    return body if isinstance(body, list) else body.get("batch", [body])


def test_a_second_holds_the_events_it_was_asked_for() -> None:
    requests = list(Traffic(RUN, 100, 1, lambda: NOW).second(with_mistake=False))

    assert sum(len(request.ids) for request in requests) == 100


def test_the_ids_of_a_request_are_those_of_its_events_in_order() -> None:
    for request in made():
        if None not in request.ids:
            assert [event["id"] for event in events(request)] == list(request.ids)


def test_no_id_is_used_twice() -> None:
    ids = [one for request in made() for one in request.ids if one is not None]

    assert len(ids) == len(set(ids))


def test_every_event_carries_the_mark_of_its_run() -> None:
    for request in made():
        assert request.body.count(RUN.encode()) >= len(request.ids)


def test_all_typed_events_occur() -> None:
    names = {event["event"] for one in made() if None not in one.ids for event in events(one)}

    assert names == set(TYPED)


def test_visitors_come_from_many_addresses_and_none_from_too_often() -> None:
    second = list(Traffic(RUN, 1_000, 1, lambda: NOW).second(with_mistake=False))
    requests = Counter(request.address for request in second)

    assert len(requests) > 50
    assert max(requests.values()) < 50


def test_mistakes_of_every_kind_occur() -> None:
    mistaken = [request for request in made() if None in request.ids]

    assert len(mistaken) == 4
    assert {request.ids.count(None) for request in mistaken} == {1}
    assert sum(len(request.ids) == 1 for request in mistaken) == 2


def test_the_same_seed_walks_the_same_way() -> None:
    def walk(seed: int) -> list[str]:
        return [request.address for request in made(seed)]

    assert walk(7) == walk(7)
    assert walk(7) != walk(8)
