"""Whoever reads the log finds a tenant's lines by its name, and a pipeline's."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from argus_operator.controller import Controller
from argus_operator.settings import ReconcileSettings
from argus_runtime import logs
from argus_runtime.settings import LogSettings

from tests.integration.operator.crash.scenarios import DELETE, delete_both
from tests.integration.operator.crash.tripwire import Engine
from tests.integration.operator.real_world import Ground, real_stage
from tests.integration.operator.stage import Stage
from tests.unit.operator.waiting import until
from tests.unit.operator.world import SHOP, WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

Lines = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(ground: Ground) -> AsyncIterator[Stage]:
    """An operator on real engines, without any tenant."""
    async with real_stage(ground) as real:
        yield real


async def look(stage: Stage, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Ours of one look at the family, as a worker makes it: of no round, and of no client whose
    connections work by themselves."""
    done: list[bool] = []

    async def reconcile(_: object) -> Any:
        try:
            return await stage.reconcile(stage.family)
        finally:
            done.append(True)

    capsys.readouterr()
    controller = Controller("tenant", reconcile, ReconcileSettings())
    controller.wake(stage.family)
    worker = asyncio.create_task(controller.run())
    await until(lambda: bool(done))
    worker.cancel()
    await asyncio.wait([worker])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [line for line in lines if line["logger"].startswith("argus_operator")]


async def test_every_line_of_a_look_names_its_tenant_and_what_is_of_a_pipeline_that_too(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(), "operator")
    await DELETE(stage)
    await stage.round(lambda _: None)
    found = await look(stage, capsys)
    stage.wire.take_away(Engine.POSTGRES)
    found += await look(stage, capsys)
    stage.wire.take_away(None)
    await stage.settle()
    await delete_both(stage)
    await stage.round(lambda _: None)
    found += await look(stage, capsys)
    await stage.pass_time(60)
    found += await look(stage, capsys)

    assert {line.get("tenant") for line in found} == {f"{stage.namespace}/{SHOP}"}
    ofs = {line["message"]: line.get("pipeline") for line in found}
    assert ofs["topic created"] == WEB
    assert ofs["topics deleted"] == WEB
    assert {line.get("pipeline") for line in found if line["message"] == "event"} == {None, WEB}
    assert all("id" in line for line in found if line["message"] == "registry record")
