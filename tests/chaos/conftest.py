"""The installation that chaos is made in, and the last line of every run: `N passed, N failed`."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from argus_cli.settings import Settings

from tests.chaos import node
from tests.e2e.conftest import settings as installation
from tests.summing import pytest_unconfigure

__all__ = ["installation", "pytest_unconfigure"]


@dataclass(frozen=True, slots=True)
class Run:
    """What is asked for: a seed that gives the whole sequence, and how many faults."""

    seed: int
    faults: int


@pytest.fixture(scope="session")
def run() -> Run:
    """SEED and FAULTS of the environment; another seed each time where none is given."""
    return Run(
        seed=int(os.environ.get("SEED") or secrets.randbelow(1_000_000)),
        faults=int(os.environ.get("FAULTS") or 6),
    )


@pytest.fixture
async def settings(installation: Settings) -> AsyncIterator[Settings]:
    """Where the installation is; what an earlier run left broken is mended, before and after."""
    await node.mend()
    yield installation
    await asyncio.shield(node.mend())
