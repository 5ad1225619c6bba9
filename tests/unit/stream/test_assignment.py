"""Rendezvous hashing: complete, agreed upon, and moving no more than it must."""

from collections import Counter
from uuid import UUID, uuid4

import pytest
from argus_stream.assignment import owner
from argus_stream.sources import Source
from hypothesis import given
from hypothesis import strategies as st

members = st.lists(st.uuids(), min_size=1, max_size=8, unique=True)
sources = st.lists(
    st.builds(Source, st.text(min_size=1, max_size=20), st.integers(0, 64)),
    max_size=40,
    unique=True,
)


@given(members, sources)
def test_each_partition_has_one_owner_whatever_the_order_of_members(
    alive: list[UUID], partitions: list[Source]
) -> None:
    other = list(reversed(alive))
    for source in partitions:
        assert owner(source, alive) in alive
        assert owner(source, alive) == owner(source, other) == owner(source, frozenset(alive))


@given(members, st.uuids(), sources)
def test_a_member_that_joins_takes_only_what_becomes_its_own(
    alive: list[UUID], joining: UUID, partitions: list[Source]
) -> None:
    for source in partitions:
        after = owner(source, [*alive, joining])
        assert after in (owner(source, alive), joining)


@given(members, sources)
def test_a_member_that_leaves_gives_only_its_own_away(
    alive: list[UUID], partitions: list[Source]
) -> None:
    leaving = alive[0]
    staying = alive[1:]
    for source in partitions:
        before = owner(source, alive)
        if before != leaving:
            assert owner(source, staying) == before


def test_shares_are_even() -> None:
    alive = [uuid4() for _ in range(4)]
    shares = Counter(owner(Source("topic", n), alive) for n in range(4_000))
    assert all(800 < shares[member] < 1_200 for member in alive)


def test_without_members_there_is_no_owner() -> None:
    with pytest.raises(ValueError, match="no members"):
        owner(Source("topic", 0), [])
