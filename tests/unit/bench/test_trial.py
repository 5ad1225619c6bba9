"""A run's figures from two readings and what the generator says."""

import pytest

from bench import accounting
from bench.ledger import Account, Position
from bench.load import Offer, Outcome
from bench.trial import Reading, summary

OFFER = Offer(ports=(1,), keys=("k",), batch=10)
COMPONENTS = ("ingest", "kafka", "redis", "stream", "postgres", "load")
ACCOUNT = Account(acknowledged=4000, rows=3990, lost=10, twice=0)


def _reading(at: float, cpu: float, stored: int) -> Reading:
    return Reading(
        at=at,
        cpu=dict.fromkeys(COMPONENTS, cpu),
        resident=dict.fromkeys(COMPONENTS, 100 * accounting.MIB),
        position=Position(stored, stored, 0),
    )


def _outcome() -> Outcome:
    """100 requests a second for four seconds; slow ones in the first of them."""
    return Outcome(
        began=50.0,
        ended=54.0,
        sent=4000,
        requests=400,
        ticks=[1] * 400,
        latencies=[0.5] * 100 + [0.010] * 300,
        statuses={202: 400},
    )


def test_costs_are_by_acknowledged_events_or_rows_of_the_window() -> None:
    run = summary(OFFER, _outcome(), _reading(51.0, 1.0, 100), _reading(53.0, 1.2, 1100), ACCOUNT)
    assert run.accepted == pytest.approx(1000)
    assert run.stored == pytest.approx(500)
    assert run.sustained == run.stored
    for name in ("ingest", "kafka", "redis", "load"):
        assert run.cpu[name] == pytest.approx(0.2e6 / 2000)
    for name in ("stream", "postgres"):
        assert run.cpu[name] == pytest.approx(0.2e6 / 1000)
    assert run.whole == pytest.approx(3 * 100 + 2 * 200)


def test_latencies_are_those_of_the_window() -> None:
    run = summary(OFFER, _outcome(), _reading(51.0, 1.0, 0), _reading(53.0, 1.2, 500), ACCOUNT)
    assert [run.p50, run.p999] == pytest.approx([10, 10])
    run = summary(OFFER, _outcome(), _reading(50.5, 1.0, 0), _reading(53.0, 1.2, 500), ACCOUNT)
    assert run.p99 == pytest.approx(500)


def test_what_was_lost_is_told() -> None:
    run = summary(OFFER, _outcome(), _reading(51.0, 1.0, 0), _reading(53.0, 1.2, 500), ACCOUNT)
    assert (run.acknowledged, run.rows, run.lost) == (4000, 3990, 10)


def test_a_window_without_rows_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="0 rows"):
        summary(OFFER, _outcome(), _reading(51.0, 1.0, 5), _reading(53.0, 1.2, 5), ACCOUNT)
