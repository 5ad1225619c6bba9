"""Bytes in flight, and each tenant's part of them."""

from contextlib import suppress

import pytest
from argus_ingest.budget import Account, Budget
from argus_ingest.errors import BusyError
from hypothesis import given
from hypothesis import strategies as st

LIMIT = 1_000_000
moves = st.lists(st.tuples(st.integers(0, 4), st.integers(0, LIMIT), st.booleans()), max_size=200)


def fill(budget: Budget, account: Account, size: int = 1_000) -> int:
    """Takes portions until they are refused; how many bytes it got."""
    before = account.held
    with suppress(BusyError):
        while True:
            budget.take(account, size)
    return account.held - before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_tenant_alone_may_hold_its_share(share: float) -> None:
    budget = Budget(LIMIT, share)
    assert share * LIMIT - 1_001 <= fill(budget, Account()) <= share * LIMIT


@given(moves, st.sampled_from([0.2, 0.5, 0.8]))
def test_nobody_ever_holds_more_than_a_share_and_the_sum_is_right(
    steps: list[tuple[int, int, bool]], share: float
) -> None:
    budget, accounts = Budget(LIMIT, share), [Account() for _ in range(5)]
    held: list[list[int]] = [[] for _ in accounts]
    for tenant, size, taking in steps:
        if taking:
            before = accounts[tenant].held, budget.used
            try:
                budget.take(accounts[tenant], size)
                held[tenant].append(size)
            except BusyError:
                assert (accounts[tenant].held, budget.used) == before
        elif held[tenant]:
            budget.give(accounts[tenant], held[tenant].pop())
        assert [account.held for account in accounts] == [sum(sizes) for sizes in held]
        assert budget.used == sum(account.held for account in accounts) <= LIMIT
        assert all(account.held <= share * LIMIT for account in accounts)


@given(st.integers(1, 6), st.integers(1, 50))
def test_however_many_want_all_there_is_room_for_one_more(tenants: int, rounds: int) -> None:
    budget, accounts = Budget(LIMIT, 0.5), [Account() for _ in range(tenants)]
    for _ in range(rounds):
        for account in accounts:
            fill(budget, account, 1 + LIMIT // 997)
            # Some of it is answered and given back, and all want more again.
            budget.give(account, account.held // 3)
    for account in accounts:
        fill(budget, account)
    assert fill(budget, Account()) > 0


def test_tenants_that_want_all_end_with_equal_parts() -> None:
    budget, accounts = Budget(LIMIT, 0.5), [Account() for _ in range(3)]
    fill(budget, accounts[0])
    for _ in range(200):
        for account in accounts:
            budget.give(account, account.held // 10)
        for account in reversed(accounts):
            fill(budget, account)
    assert all(account.held == pytest.approx(LIMIT / 4, rel=0.15) for account in accounts)


def test_a_refusal_says_what_is_held_and_when_to_come_again() -> None:
    budget, account = Budget(LIMIT, 0.5), Account()
    budget.take(account, 400_000)
    with pytest.raises(BusyError, match="400000 bytes of this tenant") as refused:
        budget.take(account, 200_000)
    assert refused.value.retry_after == 1.0
