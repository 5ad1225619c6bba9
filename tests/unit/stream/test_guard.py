"""The guard against a plain list of outcomes; what a client can cause never reaches it."""

from collections.abc import Sequence

import pytest
from argus_contract import headers, splice
from argus_contract.rejects import Code, Step
from argus_contract.window import Window
from argus_stream.decode import decode, rescreen
from argus_stream.guard import Guard, Guards, Rule, counts
from argus_stream.slices import Letter, Replay, Slice
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.stream.samples import NOW, FakeRecord, identity, lease, letter, record

TOPIC = "argus.ns.web.0badcafe"
DEFAULT = Rule(window=1_000, ratio=0.5, least=100, run=100)


def tripped(rule: Rule, outcomes: Sequence[bool]) -> bool:
    """The rule, said plainly: True is a refusal."""
    window = outcomes[-rule.window :]
    refused = sum(window)
    in_a_row = len(outcomes) - 1 - max((n for n, bad in enumerate(outcomes) if not bad), default=-1)
    return in_a_row >= rule.run or (refused >= rule.least and refused >= rule.ratio * len(window))


rules = st.builds(
    Rule,
    window=st.integers(1, 12),
    ratio=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    least=st.integers(1, 12),
    run=st.integers(1, 20),
)


@given(
    rules, st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=30), st.integers(1, 9)
)
@example(Rule(5, 0.5, 5, 20), [(True, 3), (False, 0), (True, 1)], 1)
def test_it_trips_exactly_where_the_rule_says(
    rule: Rule, runs: list[tuple[bool, int]], more: int
) -> None:
    guard = Guard(rule)
    outcomes: list[bool] = []
    for refused, count in runs:
        (guard.refused if refused else guard.passed)(count)
        outcomes += [refused] * count
        expected = tripped(rule, outcomes + [True] * more)
        assert (guard.trips(more) is not None) == expected


def test_it_says_what_tripped_it() -> None:
    guard = Guard(DEFAULT)
    guard.refused(99)
    assert guard.trips(1) == "100 records in a row were refused"
    guard.passed(50)
    assert guard.trips(1) == "100 of the last 150 records were refused"


def test_one_poison_record_in_a_healthy_stream_never_trips_it() -> None:
    guard = Guard(DEFAULT)
    for _ in range(10_000):
        guard.refused(1)
        guard.passed(10)
        assert guard.trips(1) is None


def refused(offset: int, code: Code = Code.REFUSED, step: Step = Step.STORE) -> Letter:
    return Letter(record(offset), identity(offset), code, step, "why")


def next_refused(count: int) -> list[Slice]:
    """A slice of which every record is refused."""
    return [Slice(lease(), 0, count, letters=[refused(offset) for offset in range(count)])]


def test_a_slice_is_counted_in_the_order_of_its_offsets() -> None:
    guards = Guards(Rule(window=100, ratio=1.0, least=100, run=3))
    piece = Slice(lease(), 0, 6, letters=[refused(0), refused(1), refused(5)])
    piece.records = [record(2), record(3), record(4)]
    piece.rows = [b""] * 3
    guards.settled(piece)
    assert guards.trips(TOPIC, next_refused(1)) is None, "five, then a success, then one"
    assert guards.trips(TOPIC, next_refused(2)) is not None
    assert guards.trips(TOPIC, next_refused(1)) is None, "asking counts nothing"


def test_refusals_between_records_that_pass_are_not_taken_for_a_run() -> None:
    guards = Guards(Rule(window=100, ratio=0.5, least=3, run=3))
    piece = Slice(lease(), 0, 50, letters=[refused(offset) for offset in range(0, 50, 10)])
    piece.records = [record(offset) for offset in range(50) if offset % 10]
    piece.rows = [b""] * len(piece.records)
    assert guards.trips(TOPIC, [piece]) is None
    assert guards.trips(TOPIC, [piece, *next_refused(3)]) is not None


def test_in_doubt_the_first_refusal_trips_it_and_successes_end_the_doubt() -> None:
    guards = Guards(DEFAULT)
    guards.doubt(TOPIC)
    assert guards.trips(TOPIC, next_refused(1)) is not None
    passed = Slice(lease(), 0, 150, rows=[b""] * 150)
    guards.settled(passed)
    assert guards.trips(TOPIC, next_refused(1)) is None


def test_pipelines_are_counted_apart_and_forgotten_apart() -> None:
    guards = Guards(Rule(window=100, ratio=1.0, least=100, run=3))
    for topic in ("a", "b"):
        guards.settled(Slice(lease(topic), 0, 2, letters=[refused(0), refused(1)]))
    guards.forget("a")
    assert guards.trips("a", next_refused(1)) is None
    assert guards.trips("b", next_refused(1)) is not None


@pytest.mark.parametrize(
    ("found", "counted"),
    [
        (refused(0), True),
        (refused(0, Code.INTERNAL, Step.STORE), True),
        (refused(0, Code.INTERNAL, Step.DECODE), True),
        (refused(0, Code.UNSTORABLE, Step.DECODE), False),
        (letter(0, Code.TOO_OLD), False),
        *((refused(0, code, Step.INGEST), False) for code in Code),
    ],
)
def test_only_refusals_of_the_database_and_defects_of_ours_count(
    found: Letter, counted: bool
) -> None:
    assert counts(found) is counted


def test_a_replay_that_fails_again_does_not_count() -> None:
    again = refused(0)
    again.replay = Replay(f"{TOPIC}/0/0", 2)
    assert not counts(again)


BY_CLIENT = [
    b'{"event":"e\\u0000"}',
    b'{"event":"e","properties":{"a":"\\ud800"}}',
    b'{"event":"e","properties":{"a":1e999999}}',
    b'{"event":"e","properties":{"a":"\xff"}}',
    b'{"event":1}',
    b'{"event":"' + b"e" * 300 + b'"}',
    b'{"event":"e","properties":' + b"[" * 9_000 + b"]" * 9_000 + b"}",
    b"no JSON",
]


def by_client(offset: int, kind: int) -> FakeRecord:
    """One of the many ways in which a client can be wrong."""
    if kind < len(BY_CLIENT):
        return record(offset, BY_CLIENT[kind])
    if kind == len(BY_CLIENT):
        return record(offset, time=0)
    known = (headers.ID, identity(offset).encode())
    codes = list(Code)
    return FakeRecord(offset, b"raw", (known, (headers.REJECT, codes[kind % len(codes)].encode())))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2 * len(BY_CLIENT)), min_size=1, max_size=20))
def test_nothing_that_a_client_sends_trips_it(kinds: list[int]) -> None:
    """By the thousands: after a refusal, that is how each record of the slice is looked at."""
    guards = Guards(DEFAULT)
    found = [by_client(offset, kinds[offset % len(kinds)]) for offset in range(2_000)]
    piece = Slice(lease(), 0, 0)
    decode(found, piece, Window.at(NOW, 7 * 86_400))
    rescreen(piece)
    assert not piece.rows, "all of them are letters"
    assert not any(counts(each) for each in piece.letters)
    guards.settled(piece)
    assert guards.trips(TOPIC, next_refused(99)) is None


def test_events_of_a_client_are_what_the_database_would_take() -> None:
    """The other way round: what is no letter here is a row, and only the table can refuse it."""
    piece = Slice(lease(), 0, 0)
    value = splice.envelope(identity(0), NOW, NOW, b'{"event":"e"}')
    decode([FakeRecord(0, value, ((headers.ID, identity(0).encode()),))], piece, Window.at(NOW, 1))
    assert (len(piece.rows), len(piece.letters)) == (1, 0)
