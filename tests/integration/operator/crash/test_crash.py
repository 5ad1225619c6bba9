"""The same as tests/unit/operator/test_crash.py, on real engines and with the real adapters.

A kill before a call leaves the engines as a kill after the one before it does, so here each call is
let through and then the process is ended; and each is failed once. Engines that are away are the
columns of test_matrix.py.
"""

import asyncio
import os

import pytest

from tests.integration.operator.crash.scenarios import (
    CREATE,
    DROP,
    KEEP,
    SCENARIOS,
    Scenario,
    differences,
    outlast,
    play,
)
from tests.integration.operator.crash.tripwire import Engine, Side
from tests.integration.operator.real_world import Ground, real_stage
from tests.integration.operator.stage import State

LANES = 4
"""Operators at a time, each with a namespace and a registry of its own."""
CHOSEN = SCENARIOS if os.environ.get("ARGUS_CRASH") == "full" else (CREATE, DROP, KEEP)
"""ARGUS_CRASH=full takes all that the fakes are put through."""

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


@pytest.mark.parametrize("side", [Side.AFTER, Side.FAILING])
@pytest.mark.parametrize("scenario", CHOSEN, ids=str)
async def test_stopped_at_any_call_it_ends_as_if_undisturbed(
    ground: Ground, scenario: Scenario, side: Side
) -> None:
    async with real_stage(ground) as undisturbed:
        expected = await play(undisturbed, scenario)
        calls = list(enumerate(undisturbed.wire.calls, 1))
    wrong: list[str] = []
    waiting = iter(calls)

    async def lane() -> None:
        for number, call in waiting:
            found = await disturbed(ground, scenario, number, side)
            wrong.extend(f"call {number}, {call}: {what}" for what in differences(expected, found))

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())

    assert len(calls) > 10
    assert not wrong


async def disturbed(ground: Ground, scenario: Scenario, number: int, side: Side) -> State:
    """The state in the end of an operator that was disturbed at that call."""
    async with real_stage(ground) as stage:
        found = await play(stage, scenario, number, side)
        assert stage.wire.tripped, f"call {number} was not reached"
        return found


@pytest.mark.parametrize("scenario", CHOSEN, ids=str)
async def test_an_api_server_that_is_away_all_the_while_changes_nothing_in_the_end(
    ground: Ground, scenario: Scenario
) -> None:
    async with real_stage(ground) as undisturbed:
        expected = await play(undisturbed, scenario)
    async with real_stage(ground) as stage:
        found = await outlast(stage, scenario, Engine.KUBERNETES)

    assert not list(differences(expected, found))
