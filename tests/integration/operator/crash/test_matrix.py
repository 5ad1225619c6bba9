"""The matrix on real engines and with the real adapters; tests/unit/operator/test_matrix.py's rows.

Cells run side by side, each with a namespace and a registry of its own; a test waits for its own.
`ARGUS_CRASH=full` takes all of them, else only those that share no code path.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.operator.crash.rows import IN_EVERY_RUN, ROWS, Column, run
from tests.integration.operator.crash.scenarios import Scenario, differences, play
from tests.integration.operator.crash.updates import FIXED, apply
from tests.integration.operator.real_world import Ground, real_stage
from tests.integration.operator.stage import State

LANES = 4
FULL = os.environ.get("ARGUS_CRASH") == "full"

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]


class Cells:
    """The cells of a run, begun all at once, in work a few at a time."""

    def __init__(self, ground: Ground, wanted: Iterable[tuple[Scenario, Column]]) -> None:
        self._ground = ground
        self._lanes = asyncio.Semaphore(LANES)
        self._undisturbed: dict[str, asyncio.Task[tuple[State, int]]] = {}
        self._cells: dict[tuple[str, Column], asyncio.Task[list[str]]] = {}
        for row, column in wanted:
            if row.name not in self._undisturbed:
                self._undisturbed[row.name] = asyncio.create_task(self._play(row))
            self._cells[row.name, column] = asyncio.create_task(self._run(row, column))

    async def wrong(self, row: Scenario, column: Column) -> list[str]:
        """What differs in the end from what an undisturbed operator leaves."""
        return await self._cells[row.name, column]

    async def close(self) -> None:
        """Ends what nobody waited for."""
        tasks = [*self._cells.values(), *self._undisturbed.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _play(self, row: Scenario) -> tuple[State, int]:
        async with self._lanes, real_stage(self._ground) as stage:
            return await play(stage, row), len(stage.wire.calls)

    async def _run(self, row: Scenario, column: Column) -> list[str]:
        expected, calls = await self._undisturbed[row.name]
        if column is Column.WELL:  # as it was played, its sights seen
            return []
        async with self._lanes, real_stage(self._ground) as stage:
            return list(differences(expected, await run(stage, row, column, calls)))


def _cell(row: Any, column: Any) -> tuple[Scenario, Column]:
    return row, column


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cells(request: pytest.FixtureRequest, ground: Ground) -> AsyncIterator[Cells]:
    """The cells that this run's tests wait for."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    mine = [item for item in items if item.module is request.module]
    wanted = [item.callspec.params for item in mine if item.originalname == test_a_row.__name__]
    running = Cells(ground, [_cell(**params) for params in wanted])
    yield running
    await running.close()


@pytest.mark.parametrize(
    ("row", "column"),
    [
        pytest.param(row, column, id=f"{row}-{column}")
        for row in ROWS
        for column in Column
        if FULL or column in IN_EVERY_RUN.get(row.name, ())
    ],
)
async def test_a_row(cells: Cells, row: Scenario, column: Column) -> None:
    assert not await cells.wrong(row, column)


@pytest.mark.parametrize("leaf", FIXED)
async def test_a_field_that_never_changes_is_refused(ground: Ground, leaf: str) -> None:
    async with real_stage(ground) as stage:
        await stage.pipeline()
        with pytest.raises(AssertionError, match="422"):
            await apply(stage, "arguspipelines", FIXED[leaf])
