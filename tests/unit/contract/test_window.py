"""The accepted window: open at both ends, and in words for any number that JSON can carry."""

import pytest
from argus_contract.rejects import Code
from argus_contract.times import SECOND
from argus_contract.window import Window
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000_000
WEEK = 7 * 86_400
WINDOW = Window.at(NOW, WEEK)


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (NOW - WEEK * SECOND, Code.TOO_OLD),
        (NOW - WEEK * SECOND + 1, None),
        (NOW, None),
        (NOW + 3_600 * SECOND - 1, None),
        (NOW + 3_600 * SECOND, Code.TOO_NEW),
    ],
)
def test_it_is_open_at_both_ends(time: int, code: Code | None) -> None:
    assert (time in WINDOW) == (code is None)
    if code is not None:
        assert WINDOW.refusal(time)[0] == code


def test_a_refusal_names_both_times() -> None:
    assert WINDOW.refusal(0) == (
        Code.TOO_OLD,
        "1970-01-01T00:00:00.000000Z is before 2027-01-08T08:00:00.000000Z",
    )


@given(st.integers())
def test_any_number_is_judged_and_told(time: int) -> None:
    if time not in WINDOW:
        code, words = WINDOW.refusal(time)
        assert code == (Code.TOO_OLD if time < NOW else Code.TOO_NEW)
        assert str(time) in words or "Z is" in words
