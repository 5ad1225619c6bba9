"""The sequence of faults that a seed gives."""

import pytest

from tests.chaos.faults import KINDS, Pair, draw


def names(seed: int, count: int) -> list[str]:
    return [fault.name for fault in draw(seed, count)]


def test_the_same_seed_gives_the_same_sequence() -> None:
    assert names(7, 40) == names(7, 40)
    assert names(7, 40) != names(8, 40)


def test_a_short_sequence_is_the_beginning_of_a_long_one() -> None:
    assert names(7, 40)[:6] == names(7, 6)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_is_drawn_once_before_any_comes_again(seed: int) -> None:
    drawn = [type(fault) for fault in draw(seed, 2 * len(KINDS))]

    assert set(drawn[: len(KINDS)]) == set(KINDS)
    assert set(drawn[len(KINDS) :]) == set(KINDS)


@pytest.mark.parametrize("seed", range(50))
def test_two_faults_at_once_restart_different_components(seed: int) -> None:
    [pair] = [fault for fault in draw(seed, len(KINDS)) if isinstance(fault, Pair)]

    first, second = pair.faults

    assert first.touches.isdisjoint(second.touches)
    assert len(first.touches) <= len(second.touches)
