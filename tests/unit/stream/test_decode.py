"""Judging records: nothing raises, each offset is accounted for, and reasons are the right ones."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from argus_contract import headers, splice
from argus_contract.event_schemas import Validators
from argus_contract.headers import Header
from argus_contract.registry import EventSchema, Validation
from argus_contract.rejects import Code, Step
from argus_contract.window import Window
from argus_stream import decode as module
from argus_stream.decode import MAX_ERROR, decode, replay_of, rescreen
from argus_stream.slices import Replay, Slice
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tests.unit.stream.samples import NOW, FakeRecord, accounted, identity, lease, record

WEEK = 7 * 86_400
WINDOW = Window.at(NOW, WEEK)
SECOND = 1_000_000


def decoded(records: Iterable[FakeRecord], start: int = 0, *, suspect: bool = False) -> Slice:
    piece = Slice(lease(start=start), start, start)
    decode(list(records), piece, WINDOW, suspect=suspect)
    return piece


def code_of(found: FakeRecord, *, suspect: bool = False) -> Code | None:
    """The code of the letter that a record becomes, None if it becomes a row."""
    piece = decoded([found], found.offset, suspect=suspect)
    assert accounted(piece) == [found.offset]
    return piece.letters[0].code if piece.letters else None


header_names = st.sampled_from(
    [
        headers.ID,
        headers.REJECT,
        headers.BY_ID,
        headers.ERROR,
        headers.EVENT,
        headers.REPLAY_OF,
        headers.ATTEMPT,
        "other",
    ]
)
header_values = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([code.encode() for code in Code]),
    st.just(identity(7).encode()),
    st.just(b"argus.ns.web.0badcafe/0/3"),
    st.just(b"2"),
)
wild_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
envelopes = st.fixed_dictionaries(
    {
        "v": st.sampled_from([1, 1, 1, 2, None]),
        "id": st.sampled_from(
            [identity(7), "x", "", None, "zzzzzzzz-0000-7000-8000-000000000000", "é" * 36, "a" * 36]
        ),
        "time": st.one_of(st.just(NOW), st.integers(), st.none()),
        "received": st.one_of(st.just(NOW), st.integers(), st.none()),
        "event": st.fixed_dictionaries(
            {"event": st.text(max_size=3) | st.none()},
            optional={
                "value": st.floats() | st.text(max_size=2),
                "distinct_id": st.text(max_size=300),
                "properties": st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
            },
        ),
    }
).map(lambda value: json.dumps(value).encode())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.none() | st.binary(max_size=40) | wild_json | envelopes,
            st.lists(st.tuples(header_names, header_values), max_size=4),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_whatever_is_in_the_log_each_offset_is_accounted_for_once(
    log: list[tuple[int, bytes | None, list[Header]]], suspect: bool
) -> None:
    records = []
    offset = 10
    for gap, value, found in log:
        offset += gap
        records.append(FakeRecord(offset, value, tuple(found)))
        offset += 1
    piece = decoded(records, 10, suspect=suspect)
    assert piece.end == (records[-1].offset + 1 if records else 10)
    assert accounted(piece) == list(range(10, piece.end))
    assert len(piece.rows) == len(piece.records)


def test_records_that_were_decoded_before_are_not_decoded_again() -> None:
    piece = decoded([record(3), record(4)], 3)
    decode([record(3), record(4), record(5)], piece, WINDOW)
    assert [found.offset for found in piece.records] == [3, 4, 5]


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (NOW - WEEK * SECOND, Code.TOO_OLD),
        (NOW - WEEK * SECOND + 1, None),
        (NOW + 3_600 * SECOND - 1, None),
        (NOW + 3_600 * SECOND, Code.TOO_NEW),
        (2**80, Code.TOO_NEW),
        (-(2**80), Code.TOO_OLD),
    ],
)
def test_the_window_is_open_at_both_ends(time: int, code: Code | None) -> None:
    assert code_of(record(0, time=time)) == code


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (rb'{"event":"e","properties":{"a":"\u0000"}}', Code.UNSTORABLE),
        (rb'{"event":"e\u0000"}', Code.UNSTORABLE),
        (rb'{"event":"e","properties":{"a":"\\u0000"}}', None),
        (rb'{"event":"e","properties":{"a":"\ud800"}}', Code.UNSTORABLE),
        (rb'{"event":"e","properties":{"a":"\ud83d\ude00"}}', None),
        (b'{"event":"e","properties":{"a":"\xff"}}', Code.UNSTORABLE),
        (b'{"event":"\xff"}', Code.INVALID_JSON),
        (b'{"event":"e","properties":{"a":}}', Code.INVALID_JSON),
        (b'{"event":1}', Code.INVALID_EVENT),
        (b'{"event":""}', Code.INVALID_EVENT),
        (b'{"event":"' + b"e" * 201 + b'"}', Code.INVALID_EVENT),
        (b'{"event":"e","distinct_id":"' + b"d" * 201 + b'"}', Code.INVALID_EVENT),
        (b'{"event":"e","value":1e999}', Code.INVALID_EVENT),
        (b'{"event":"e","properties":' + b"[" * 9_000 + b"]" * 9_000 + b"}", Code.TOO_DEEP),
        (b'{"event":"e","properties":null}', None),
    ],
)
def test_what_cannot_be_stored_has_the_reason_why(event: bytes, code: Code | None) -> None:
    assert code_of(record(0, event)) == code


@pytest.mark.parametrize("event", [b'{"event":"e"}', b'{"event":"e","properties":null}'])
def test_properties_that_were_left_out_are_null(event: bytes) -> None:
    [row] = decoded([record(0, event)]).rows
    assert row.endswith((-1).to_bytes(4, "big", signed=True))


@pytest.mark.parametrize(
    "value",
    [
        splice.envelope(identity(0), NOW, NOW, b'{"event":"e"}').replace(b'"v":1', b'"v":2'),
        splice.envelope("0192f0c1000070008000000000000000", NOW, NOW, b'{"event":"e"}'),
        splice.envelope("zzzzzzzz-0000-7000-8000-000000000000", NOW, NOW, b'{"event":"e"}'),
        splice.envelope("é" * 36, NOW, NOW, b'{"event":"e"}'),
        splice.envelope("a" * 36, NOW, NOW, b'{"event":"e"}'),
        splice.envelope(identity(0), NOW, NOW + 3_601 * SECOND, b'{"event":"e"}'),
        splice.envelope(identity(0), NOW, -1, b'{"event":"e"}'),
    ],
)
def test_an_envelope_that_we_did_not_write_is_no_event(value: bytes) -> None:
    found = FakeRecord(0, value, ((headers.ID, identity(0).encode()),))
    assert code_of(found) == Code.INVALID_EVENT


@pytest.mark.parametrize(
    "found",
    [
        FakeRecord(0, b"anything"),
        FakeRecord(0, b"anything", ((headers.ID, b""),)),
        FakeRecord(0, b"anything", ((headers.ID, b"no uuid"),)),
        FakeRecord(0, b"anything", ((headers.ID, b"no uuid"), (headers.REJECT, b"too_large"))),
        FakeRecord(0, None),
    ],
)
def test_a_strangers_record_is_skipped(found: FakeRecord) -> None:
    piece = decoded([found])
    assert (piece.skipped, piece.rows, piece.letters) == (1, [], [])


def test_a_reject_of_ingest_keeps_its_code_and_says_who_refused_it() -> None:
    found = FakeRecord(
        0,
        b"raw",
        (
            (headers.ID, identity(0).upper().encode()),
            (headers.REJECT, b"too_large"),
            (headers.ERROR, b"e" * 5_000),
            (headers.EVENT, b"click\0"),
        ),
    )
    (letter,) = decoded([found]).letters
    assert (letter.code, letter.step, letter.id) == (Code.TOO_LARGE, Step.INGEST, identity(0))
    assert letter.event == "click\ufffd"
    assert len(letter.error) == MAX_ERROR
    assert letter.time is None


def test_a_reject_with_an_unknown_code_is_an_invalid_event() -> None:
    found = FakeRecord(
        0, b"raw", ((headers.ID, identity(0).encode()), (headers.REJECT, b"tomorrow"))
    )
    assert code_of(found) == Code.INVALID_EVENT


def test_a_letter_knows_the_time_by_which_its_event_would_be_known() -> None:
    old = NOW - 2 * WEEK * SECOND
    timed, untimed = decoded([record(0, time=old), record(1, time=old, by_id=True)]).letters
    assert (timed.time, untimed.time) == (old, None)
    assert timed.event == "e"


def test_numbers_are_screened_only_where_the_database_has_refused_some() -> None:
    found = record(0, b'{"event":"e","properties":{"a":1e999999}}')
    assert code_of(found) is None
    assert code_of(found, suspect=True) == Code.UNSTORABLE


def test_rescreening_makes_letters_of_unstorable_rows_only() -> None:
    bad = b'{"event":"bad","properties":{"a":1e999999}}'
    piece = decoded([record(0), record(1, bad), record(2), record(3, bad, by_id=True)])
    assert rescreen(piece)
    assert [found.offset for found in piece.records] == [0, 2]
    assert [(x.record.offset, x.code, x.event) for x in piece.letters] == [
        (1, Code.UNSTORABLE, "bad"),
        (3, Code.UNSTORABLE, "bad"),
    ]
    assert [x.time for x in piece.letters] == [NOW, None]
    assert accounted(piece) == [0, 1, 2, 3]
    assert not rescreen(piece)


ROOT = b"argus.ns.web.0badcafe/0/3"


def replayed(found: FakeRecord, *more: Header) -> FakeRecord:
    return FakeRecord(found.offset, found.value, (*found.headers, *more))


def test_a_replay_that_is_an_event_is_a_row_of_which_it_is_known() -> None:
    marks = ((headers.REPLAY_OF, ROOT), (headers.ATTEMPT, b"2"))
    piece = decoded([record(0), replayed(record(1, by_id=True), *marks), record(2)])
    assert len(piece.rows) == 3
    assert piece.replays == {1: Replay(ROOT.decode(), 2)}


@pytest.mark.parametrize("kind", ["reject", "too old", "later"])
def test_a_replay_that_is_no_event_is_a_letter_that_knows_its_root(kind: str) -> None:
    marks = [(headers.REPLAY_OF, ROOT), (headers.ATTEMPT, b"7")]
    time = NOW
    if kind == "reject":
        marks.append((headers.REJECT, b"invalid_json"))
    elif kind == "too old":
        time = 0
    piece = decoded(
        [replayed(record(0, b'{"event":"e","properties":{"a":1e999999}}', time=time), *marks)]
    )
    rescreen(piece)
    (letter,) = piece.letters
    assert letter.replay == Replay(ROOT.decode(), 7)
    assert piece.replays == {}


@pytest.mark.parametrize(
    ("root", "attempt"),
    [
        (None, b"2"),
        (b"", b"2"),
        (b"argus.ns.other.0badcafe/0/3", b"2"),
        (b"argus.ns.web.0badcafe", b"2"),
        (b"argus.ns.web.0badcafe/0", b"2"),
        (b"argus.ns.web.0badcafe/0/3/4", b"2"),
        (b"argus.ns.web.0badcafe/-1/3", b"2"),
        ("argus.ns.web.0badcafe/0/٣".encode(), b"2"),
        (b"argus.ns.web.0badcafe/0/3\n", b"2"),
        (b"argus.ns.web.0badcafe/0/" + b"9" * 20, b"2"),
        (b"\xff/0/3", b"2"),
        (ROOT, None),
        (ROOT, b""),
        (ROOT, b"0"),
        (ROOT, b"-1"),
        (ROOT, b"two"),
        (ROOT, b"\xff"),
        (ROOT, b"9999999999"),
    ],
)
def test_what_a_stranger_wrote_into_the_headers_makes_no_replay(
    root: bytes | None, attempt: bytes | None
) -> None:
    marks = [(headers.REPLAY_OF, root), (headers.ATTEMPT, attempt)]
    found = replayed(record(0), *((name, value) for name, value in marks if value is not None))
    piece = decoded([found])
    assert (len(piece.rows), piece.replays) == (1, {})


@given(st.binary(max_size=40), st.binary(max_size=12))
def test_any_header_is_survived(root: bytes, attempt: bytes) -> None:
    found = replay_of({headers.REPLAY_OF: root, headers.ATTEMPT: attempt}, "t")
    assert found is None or found.root.startswith("t/")


def test_a_defect_of_ours_makes_a_letter_of_its_record_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = module._row

    def stumble(offset: int, *rest: Any) -> bytes:
        if offset == 1:
            raise ZeroDivisionError("of ours")
        return row(offset, *rest)

    monkeypatch.setattr(module, "_row", stumble)
    piece = decoded([record(0), record(1), record(2)])
    (letter,) = piece.letters
    assert (letter.code, letter.step, letter.record.offset) == (Code.INTERNAL, Step.DECODE, 1)
    assert "ZeroDivisionError('of ours')" in letter.error
    assert len(piece.rows) == 2


class TestSchemas:
    SCHEMA = '{"properties":{"age":{"type":"integer"}}}'

    def judged(self, body: bytes, *, enforce: bool = True, time: int = NOW) -> Slice:
        validation = Validation(enforce, (EventSchema("e", self.SCHEMA),))
        piece = Slice(lease(), 0, 0)
        decode([record(0, body, time=time)], piece, WINDOW, Validators(validation))
        assert accounted(piece) == [0]
        return piece

    @staticmethod
    def counted() -> float:
        labels = {"tenant": "ns/shop", "pipeline": "web", "event": "e"}
        name = "argus_stream_schema_mismatches_total"
        return REGISTRY.get_sample_value(name, labels) or 0.0

    def test_what_does_not_fit_is_a_letter_that_says_where(self) -> None:
        before = self.counted()
        (letter,) = self.judged(b'{"event":"e","properties":{"age":"x"}}').letters

        assert (letter.code, letter.step) == (Code.SCHEMA, Step.DECODE)
        assert letter.error == '/properties/age: it is not of type "integer"'
        assert (letter.event, letter.time) == ("e", NOW)
        assert self.counted() == before + 1

    def test_an_observing_pipeline_stores_and_counts_it(self) -> None:
        before = self.counted()
        piece = self.judged(b'{"event":"e","properties":{"age":"x"}}', enforce=False)

        assert len(piece.rows) == 1
        assert self.counted() == before + 1

    @pytest.mark.parametrize(
        "body", [b'{"event":"e","properties":{"age":1}}', b'{"event":"f","properties":{"age":"x"}}']
    )
    def test_what_fits_and_what_has_no_schema_is_stored(self, body: bytes) -> None:
        before = self.counted()

        assert len(self.judged(body).rows) == 1
        assert self.counted() == before

    def test_time_is_judged_first(self) -> None:
        (letter,) = self.judged(b'{"event":"e","properties":{"age":"x"}}', time=1).letters

        assert letter.code is Code.TOO_OLD
