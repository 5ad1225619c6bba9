import io
import itertools
import json
import sys
from pathlib import Path

import pytest
from argus_cli.errors import BadInputError
from argus_cli.source import events, opened, requests, with_id
from argus_contract import ids
from hypothesis import given
from hypothesis import strategies as st

ID = "0190b3a8-0000-7000-8000-000000000001"


def test_ndjson_is_an_event_a_line() -> None:
    assert list(events(io.BytesIO(b'{"event":"a"}\n\n  {"event":"b"}'))) == [
        b'{"event":"a"}',
        b'{"event":"b"}',
    ]


def test_an_array_is_an_event_an_item_also_over_many_lines() -> None:
    assert list(events(io.BytesIO(b'[\n {"event":\n "a"},\n {"event": "b"}\n]\n'))) == [
        b'{"event":"a"}',
        b'{"event":"b"}',
    ]


def test_an_item_of_an_array_keeps_its_numbers_and_strings_as_they_are_written() -> None:
    written = rb'{"event":"a","value":1.10,"properties":{"n":1e400,"s":"\ud83d\ude00"}}'
    assert list(events(io.BytesIO(b"[" + written + b"]"))) == [written]


def test_an_array_that_does_not_end_is_refused() -> None:
    with pytest.raises(BadInputError, match="begins like a JSON array"):
        list(events(io.BytesIO(b'[{"event":"a"}')))


def test_no_input_is_no_events() -> None:
    assert list(events(io.BytesIO(b" \n"))) == []


def test_lines_that_are_no_events_are_left_for_argus_to_judge() -> None:
    assert with_id(b'{"event":', lambda: ID) == (b'{"event":', None)
    assert with_id(b"17", lambda: ID) == (b"17", None)


def test_an_id_that_is_there_is_kept() -> None:
    assert with_id(b'{"id":"mine"}', lambda: ID) == (b'{"id":"mine"}', "mine")


def test_an_id_that_is_null_is_replaced() -> None:
    identified, given_id = with_id(b'{"id":null,"event":"a"}', lambda: ID)
    assert given_id == ID
    assert json.loads(identified) == {"id": ID, "event": "a"}


@given(
    st.dictionaries(st.text().filter(lambda key: key != "id"), st.integers() | st.text()),
    st.sampled_from(["", " ", "\t"]),
)
def test_an_id_is_added_and_nothing_else_changes(event: dict[str, object], space: str) -> None:
    line = (space + json.dumps(event)).encode()

    identified, given_id = with_id(line, lambda: ID)

    assert given_id == ID
    assert json.loads(identified) == {"id": ID, **event}


def test_events_go_in_requests_of_at_most_the_asked_size() -> None:
    numbers = itertools.count()

    sent = list(requests([b"{}"] * 5, 2, lambda: str(next(numbers))))

    assert [request.ids for request in sent] == [("0", "1"), ("2", "3"), ("4",)]
    assert sent[0].body == b'{"id":"0"}\n{"id":"1"}'


def test_a_made_id_is_one_that_argus_takes() -> None:
    _, given_id = with_id(b"{}", lambda: ids.new_id(1_764_000_000_000_000))

    assert given_id is not None
    assert ids.is_uuid(given_id)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInputError, match=r"nothing\.ndjson"),
        opened(tmp_path / "nothing.ndjson"),
    ):
        pytest.fail("a missing file was opened")


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))

    with opened(Path("-")) as stream:
        assert stream.read() == b"{}"
