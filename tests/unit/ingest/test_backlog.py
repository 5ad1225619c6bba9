"""How much of a retention is unread."""

import pytest
from argus_ingest.backlog import PartitionState, judge

from tests.unit.ingest.helpers import pipeline, state

MAIN = pipeline(retention_bytes=1_000, retention_seconds=100)


@pytest.mark.parametrize(
    ("seen", "unread"),
    [
        (state(), 0),
        (state(committed=40), 60),
        (state(committed=None), 100),
        (state(start=30, committed=None), 70),
        (state(start=30, committed=10), 70),
        (state(committed=120), 0),
    ],
)
def test_what_was_never_committed_is_unread(seen: PartitionState, unread: int) -> None:
    assert seen.unread == unread


@pytest.mark.parametrize(
    ("seen", "overdue"),
    [
        (state(committed=40, recent=30), False),
        (state(committed=40, recent=41), True),
        (state(committed=40, recent=None), True),
        (state(committed=100, recent=None), False),
    ],
)
def test_overdue_is_an_unread_record_older_than_asked(seen: PartitionState, overdue: bool) -> None:
    assert seen.overdue == overdue


def test_unread_bytes_are_the_unread_share_of_the_log() -> None:
    verdict = judge([state(start=50, end=150, committed=125, size=2_000)], MAIN, 1.0)
    assert (verdict.records, verdict.bytes, verdict.fullness) == (25, 500, 0.5)


def test_without_a_size_the_assumed_one_counts() -> None:
    verdict = judge([state(committed=80, size=None)], MAIN, 10.0)
    assert (verdict.bytes, verdict.fullness) == (200, 0.2)


def test_the_fullest_partition_decides() -> None:
    idle, full = state(size=500), state(committed=0, size=400)
    verdict = judge([idle, full, idle, idle], MAIN, 1.0)
    assert (verdict.bytes, verdict.fullness) == (400, 1.6)


@pytest.mark.parametrize("end", [0, 50, 99])
def test_a_log_that_ends_before_what_is_read_is_never_room(end: int) -> None:
    assert state(end=end, committed=100).rewound
    verdict = judge([state(), state(end=end, committed=100)], MAIN, 1.0)
    assert (verdict.records, verdict.rewound) == (0, True)
    assert not judge([state(), state(committed=None)], MAIN, 1.0).rewound
