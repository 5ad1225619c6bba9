"""The world that the tests of reconciliation start from."""

import pytest

from tests.unit.operator.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def running(world: World) -> World:
    """A tenant with its default pipeline, both Ready."""
    world.tenant()
    world.pipeline()
    await world.settle()
    for _ in range(2):
        await world.look()
    assert world.ready() == ("True", "Accepting")
    return world
