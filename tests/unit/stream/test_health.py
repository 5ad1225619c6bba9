"""When a loop counts as stuck."""

import pytest
from argus_stream.backoff import Backoff
from argus_stream.health import Watch
from hypothesis import given
from hypothesis import strategies as st


def test_a_loop_is_stuck_once_a_step_takes_too_long_and_never_while_it_is_idle() -> None:
    now = 0.0
    watch = Watch(10, lambda: now)
    assert watch.stuck() is None
    watch.step("read")
    watch.step("store")
    now = 10.0
    assert watch.stuck() is None
    now = 11.0
    assert watch.stuck() == "the read loop has not moved for 11 s"
    watch.step("read")
    assert watch.stuck() == "the store loop has not moved for 11 s"
    watch.idle("store")
    assert watch.stuck() is None


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_grow_to_a_bound_and_half_of_them_is_chance(failures: int, random: float) -> None:
    backoff = Backoff(0.5, 30, jitter=lambda: random)
    delay = backoff.delay(failures)
    full = min(30, 0.5 * 2 ** min(failures - 1, 30))
    assert delay == pytest.approx(full * (0.5 + random / 2))
    assert Backoff(0.5, 30, jitter=lambda: 0.0).delay(failures) == full / 2
