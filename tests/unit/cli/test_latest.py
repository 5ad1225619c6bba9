from argus_cli.latest import Latest
from argus_cli.letters import Key
from hypothesis import given
from hypothesis import strategies as st

ROOT = Key("t", 0, 10)


def standing(letters: list[tuple[Key, int]]) -> list[int]:
    """The places, counted from 0, of those letters that stand."""
    latest = Latest()
    for place, (root, attempt) in enumerate(letters):
        latest.add(root, attempt, place)
    return [place for place, (root, _) in enumerate(letters) if latest.stands(root, place)]


def test_of_copies_the_first_stands() -> None:
    assert standing([(ROOT, 1), (Key("t", 0, 11), 1), (ROOT, 1)]) == [0, 1]


def test_a_later_attempt_stands_for_the_event() -> None:
    assert standing([(ROOT, 1), (ROOT, 2), (ROOT, 3), (ROOT, 2)]) == [2]


def test_sources_are_told_apart() -> None:
    assert standing([(Key("t", 0, 1), 1), (Key("t", 1, 1), 1), (Key("u", 0, 1), 1)]) == [0, 1, 2]


def test_an_event_out_of_order_is_not_forgotten() -> None:
    assert standing([(Key("t", 0, 20), 1), (ROOT, 1), (ROOT, 2), (Key("t", 0, 20), 2)]) == [2, 3]


def test_what_was_never_added_does_not_stand() -> None:
    latest = Latest()
    latest.add(ROOT, 1, 0)

    assert not latest.stands(Key("t", 0, 11), 0)
    assert not latest.stands(Key("u", 0, 10), 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 4)), max_size=200))
def test_it_is_a_table_of_the_first_letter_of_the_greatest_attempt(
    letters: list[tuple[int, int, int]],
) -> None:
    roots = [(Key("t", partition, offset), attempt) for partition, offset, attempt in letters]
    expected: dict[Key, tuple[int, int]] = {}
    for place, (root, attempt) in enumerate(roots):
        if root not in expected or attempt > expected[root][0]:
            expected[root] = attempt, place

    assert standing(roots) == sorted(place for _, place in expected.values())
