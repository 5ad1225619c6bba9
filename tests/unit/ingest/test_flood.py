"""The flood guard."""

import pytest
from argus_contract.registry import Bucket
from argus_ingest.errors import FloodedError
from argus_ingest.flood import FloodGuard

SECOND = 1_000_000


def test_an_address_gets_its_burst_and_then_its_rate() -> None:
    guard = FloodGuard(Bucket(10, 20), 5, 100)
    for _ in range(20):
        guard.admit("a", 0)
    with pytest.raises(FloodedError) as refused:
        guard.admit("a", 0)
    assert refused.value.retry_after == pytest.approx(0.1)
    guard.admit("b", 0)
    guard.admit("a", SECOND // 10)


def test_each_401_costs_more_than_a_request() -> None:
    guard = FloodGuard(Bucket(10, 20), 5, 100)
    for _ in range(3):
        guard.admit("a", 0)
        guard.punish("a", 0)
    guard.admit("a", 0)
    guard.admit("a", 0)
    with pytest.raises(FloodedError):
        guard.admit("a", 0)


def test_punishment_has_an_end() -> None:
    guard = FloodGuard(Bucket(10, 20), 1e9, 100)
    guard.punish("a", 0)
    with pytest.raises(FloodedError) as refused:
        guard.admit("a", 0)
    assert refused.value.retry_after == pytest.approx(2.1)
    guard.admit("a", round(2.1 * SECOND))
