"""When a position was first seen beyond an offset."""

from hypothesis import given
from hypothesis import strategies as st

from bench.visibility import Track


def test_the_first_sight_beyond_an_offset_counts() -> None:
    track = Track()
    for position, now in ((10, 100), (10, 200), (25, 300)):
        track.note(position, now)
    assert track.passed(9) == 100
    assert track.passed(10) == track.passed(24) == 300
    assert track.passed(25) is None
    assert track.last == 25


def test_what_was_never_seen_is_none() -> None:
    assert Track().passed(0) is None
    assert Track().last == 0


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 60))
def test_it_is_what_a_search_by_hand_finds(steps: list[int], offset: int) -> None:
    track, position, expected = Track(), 0, None
    for now, step in enumerate(steps):
        position += step
        track.note(position, now)
        if expected is None and position > offset:
            expected = now
    assert track.passed(offset) == expected
