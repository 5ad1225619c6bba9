"""A forced deletion that is killed at any of its calls ends as one that was not."""

import pytest

from tests.integration.operator.crash.scenarios import DELETE, counted, delete_both, differences
from tests.integration.operator.crash.tripwire import Engine, Killed, Side
from tests.integration.operator.logic.test_force import force
from tests.integration.operator.stage import RETRY_S, State
from tests.integration.operator.stage_fake import FakeStage

LOOKS = 12


async def forced(
    stage: FakeStage, engine: Engine, at: int | None = None, side: Side = Side.BEFORE
) -> State:
    """The state in the end: the engine is away until all is gone, and then it is back."""
    for act in (DELETE, counted):
        await act(stage)
        await stage.settle()
    stage.wire.take_away(engine)
    await delete_both(stage)
    await force(stage)
    stage.wire.arm(at, side)
    for _ in range(LOOKS):
        try:
            await stage.look()
        except* Killed:
            await stage.restart()
        await stage.pass_time(RETRY_S)
    stage.wire.rest()
    stage.wire.take_away(None)
    await stage.settle()
    return await stage.end_state()


@pytest.mark.parametrize("side", [Side.BEFORE, Side.AFTER])
@pytest.mark.parametrize("engine", [Engine.KAFKA, Engine.POSTGRES, Engine.REDIS])
async def test_killed_at_any_call_it_ends_as_if_undisturbed(engine: Engine, side: Side) -> None:
    undisturbed = FakeStage()
    expected = await forced(undisturbed, engine)
    assert all(found is None for found in expected["objects"].values())
    calls = undisturbed.wire.calls
    wrong: list[str] = []
    for number, call in enumerate(calls, 1):
        found = await forced(FakeStage(), engine, number, side)
        wrong += [f"call {number}, {call}: {what}" for what in differences(expected, found)]

    assert len(calls) > 10
    assert not wrong
