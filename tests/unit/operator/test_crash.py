"""Killed at any of its calls, or failed by any, the operator ends where it would have undisturbed.

Over fakes, so that every scenario can be stopped at every call; the same on real engines is in
tests/integration/operator/crash.
"""

import pytest

from tests.integration.operator.crash.scenarios import (
    SCENARIOS,
    Scenario,
    differences,
    outlast,
    play,
)
from tests.integration.operator.crash.tripwire import Engine, Side
from tests.integration.operator.stage_fake import FakeStage


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_stopped_at_any_call_it_ends_as_if_undisturbed(
    scenario: Scenario, side: Side
) -> None:
    undisturbed = FakeStage()
    expected = await play(undisturbed, scenario)
    calls = undisturbed.wire.calls
    wrong: list[str] = []
    for number, call in enumerate(calls, 1):
        stage = FakeStage()
        found = await play(stage, scenario, number, side)
        assert stage.wire.tripped, f"call {number}, {call}, was not reached"
        wrong += [f"call {number}, {call}: {what}" for what in differences(expected, found)]

    assert len(calls) > 10
    assert not wrong


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_an_engine_that_is_away_all_the_while_changes_nothing_in_the_end(
    scenario: Scenario, engine: Engine
) -> None:
    expected = await play(FakeStage(), scenario)

    assert not list(differences(expected, await outlast(FakeStage(), scenario, engine)))
