"""A stage of each kind: every test here runs over fakes and over real engines."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.operator.real_world import Ground, ground, real_stage
from tests.integration.operator.stage import Stage
from tests.integration.operator.stage_fake import FakeStage

__all__ = ["ground"]


@pytest.fixture(params=["fake", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the operator works on."""
    found: str = request.param
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def stage(kind: str, ground: Ground) -> AsyncIterator[Stage]:
    """An operator without any tenant."""
    if kind == "fake":
        yield FakeStage()
        return
    async with real_stage(ground) as real:
        yield real


@pytest_asyncio.fixture(loop_scope="session")
async def running(stage: Stage) -> Stage:
    """The tenant `shop` with its default pipeline `web`, both Ready."""
    await stage.tenant()
    await stage.pipeline()
    await stage.settle()
    return stage
