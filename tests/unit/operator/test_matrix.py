"""The matrix over fakes: each row in each column, and that it has a row for every field.

The same on real engines is in tests/integration/operator/crash/test_matrix.py.
"""

from typing import Any

import pytest
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from hack import resources
from tests import fields
from tests.integration.operator.crash.rows import ROWS, Column, run
from tests.integration.operator.crash.scenarios import RETAIN, Scenario, differences, play, prepare
from tests.integration.operator.crash.unbuilt import UNHEEDED, Unheeded
from tests.integration.operator.crash.updates import FIXED, UPDATES, apply, leaf
from tests.integration.operator.stage import Stage, State
from tests.integration.operator.stage_fake import FakeStage

SPECS = {"tenant": "ArgusTenant", "pipeline": "ArgusPipeline"}
PLURALS = {"tenant": TENANTS, "pipeline": PIPELINES}
UNDISTURBED: dict[str, tuple[State, int]] = {}
"""Of each row, the state in the end and the number of calls, played once for all columns."""


@pytest.mark.parametrize("column", Column)
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_a_row(row: Scenario, column: Column) -> None:
    if row.name not in UNDISTURBED:
        stage = FakeStage()
        UNDISTURBED[row.name] = await play(stage, row), len(stage.wire.calls)
    expected, calls = UNDISTURBED[row.name]
    found = await run(FakeStage(), row, column, calls)

    assert not list(differences(expected, found))


def test_no_two_rows_have_one_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_field_has_a_row_or_a_reason_why_not() -> None:
    there = {
        f"{kind}{path}".replace("[]", "")
        for kind, name in SPECS.items()
        for path in fields.leaves(resources.kinds()[name]["properties"]["spec"])
    }
    without = [f"{item.kind}.{path}" for item in UNHEEDED for path in item.fields]

    assert sorted([*map(leaf, UPDATES), *FIXED, *without]) == sorted(there)


@pytest.mark.parametrize("row", UPDATES, ids=str)
async def test_a_row_changes_the_field_that_it_is_named_for(row: Scenario) -> None:
    stage = FakeStage()
    await prepare(stage, row)
    before = await written(stage)
    await row.acts[0](stage)

    assert leaf(row) in {path for path, _ in before ^ await written(stage)}


async def written(stage: Stage) -> set[tuple[str, Any]]:
    """Every field of every spec there is, with what it holds."""
    return {
        (f"{kind}{path}".replace("[]", ""), str(value))
        for kind, plural in PLURALS.items()
        for label, _ in stage.uids
        if label.startswith(plural)
        for path, value in fields.values((await stage.present(*label.split("/")))["spec"])
    }


@pytest.mark.parametrize("item", UNHEEDED, ids=str)
async def test_a_field_without_a_row_is_not_heeded_yet(item: Unheeded) -> None:
    stage = FakeStage()
    await RETAIN(stage)
    await stage.settle()
    before, specs = without_generation(await stage.end_state()), await written(stage)
    await apply(stage, PLURALS[item.kind], item.spec)
    await stage.settle()

    changed = {path for path, _ in await written(stage) - specs}
    assert changed == {f"{item.kind}.{path}" for path in item.fields}
    assert not list(differences(before, without_generation(await stage.end_state())))


def without_generation(state: Any) -> Any:
    """The state without the generations, which grow with each change of a spec."""
    if isinstance(state, list):
        return [without_generation(item) for item in state]
    if not isinstance(state, dict):
        return state
    kept = state.keys() - {"generation", "observedGeneration"}
    return {key: without_generation(state[key]) for key in kept}
