"""Events of one object: none said twice in a row, no more than can be read."""

from argus_operator.event_limits import MINUTE_S, OBJECTS, PER_MINUTE, SAME_S, EventLimits
from hypothesis import given
from hypothesis import strategies as st

UIDS = st.sampled_from(["a", "b"])
NOTES = st.sampled_from(["up", "down", "other"])
WAITS = st.sampled_from([0.0, 0.5, 7.0, 61.0, 301.0])


@given(st.lists(st.tuples(UIDS, NOTES, WAITS), max_size=80))
def test_what_is_sent_is_new_and_within_the_rate_and_nothing_else_is_dropped(
    asked: list[tuple[str, str, float]],
) -> None:
    limits, now = EventLimits(), 0.0
    sent: dict[str, list[tuple[float, str]]] = {"a": [], "b": []}
    for uid, note, wait in asked:
        now += wait
        before = sent[uid]
        repeated = bool(before) and before[-1][1] == note and now - before[-1][0] < SAME_S
        crowded = sum(now - at < MINUTE_S for at, _ in before) >= PER_MINUTE
        assert limits.allow(uid, "Reason", note, now) is not (repeated or crowded)
        if not (repeated or crowded):
            before.append((now, note))


def test_a_state_that_comes_back_is_told() -> None:
    limits = EventLimits()

    assert [limits.allow("a", "Ready", note, 1.0) for note in ("up", "down", "up")] == [True] * 3


def test_another_reason_is_another_event() -> None:
    limits = EventLimits()

    assert limits.allow("a", "Ready", "", 1.0)
    assert limits.allow("a", "Healthy", "", 1.0)


def test_the_object_that_was_longest_without_an_event_is_forgotten() -> None:
    limits = EventLimits()
    for number in range(OBJECTS + 1):
        assert limits.allow(str(number), "Ready", "up", 1.0)

    assert limits.allow("0", "Ready", "up", 1.0)
    assert not limits.allow(str(OBJECTS), "Ready", "up", 1.0)
