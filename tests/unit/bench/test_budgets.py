"""How figures are held against budgets."""

import math

import pytest

from bench import budgets
from bench.budgets import Budget, Verdict

BUDGET = Budget("some.figure", "some figure", 10, "µs", aim=5)


@pytest.mark.parametrize(
    ("figure", "passed", "reached"),
    [(4.0, True, True), (5.0, True, True), (10.0, True, False), (10.001, False, False)],
)
def test_a_figure_up_to_the_budget_passes(figure: float, passed: bool, reached: bool) -> None:
    verdict = Verdict(BUDGET, figure)
    assert (verdict.passed, verdict.reached) == (passed, reached)


@pytest.mark.parametrize("figure", [None, math.nan, math.inf])
def test_what_was_not_measured_has_failed(figure: float | None) -> None:
    assert not Verdict(BUDGET, figure).passed
    assert not Verdict(BUDGET, figure).reached


def test_one_lost_event_fails() -> None:
    loss = next(budget for budget in budgets.LOSS if budget.figure == "single.lost")
    assert Verdict(loss, 0).passed
    assert not Verdict(loss, 1).passed


def test_every_budget_counts_once_as_passed_or_failed() -> None:
    verdicts = budgets.judge(budgets.LOCAL, {"single.whole": 99.0, "batch.whole": 31.0})
    assert budgets.tally(verdicts) == (1, len(budgets.LOCAL) - 1)


def test_no_figure_has_two_budgets() -> None:
    figures = [budget.figure for budget in budgets.LOCAL]
    assert len(set(figures)) == len(figures)


def test_of_what_is_a_least_less_fails() -> None:
    budget = Budget("some.rate", "some rate", 6000, "events/s", least=True)
    assert Verdict(budget, 6000.0).passed
    assert not Verdict(budget, 5999.0).passed
