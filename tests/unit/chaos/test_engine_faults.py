"""A full disk is proved by what the engine says of this one, not of an earlier one."""

import random
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tests.chaos import engine_faults, node, pods
from tests.chaos.engine_faults import FullDiskPostgres
from tests.chaos.fault import NoBiteError, World
from tests.chaos.pods import Pod, Restarts

POSTGRES = Pod(
    name="argus-postgres-0",
    uid="1",
    component="postgres",
    address="10.0.0.1",
    container="c",
    restarts=0,
    ready=True,
    leaving=False,
    ended="",
)
LINE = "PANIC: could not write to file: No space left on device"


class Disk:
    """Notes when it was filled."""

    filled: datetime | None = None

    async def fill(self) -> None:
        self.filled = datetime.now(UTC)


class Kubelet:
    """A pod's log of one line, which it gives from a whole second on, as the kubelet does."""

    def __init__(self, written: datetime) -> None:
        self.written = written
        self.asked: list[datetime] = []

    async def kubectl(self, *words: str, timeout: float = 0) -> str:
        if "--previous" in words:
            raise node.NodeError("previous terminated container not found")
        since = datetime.fromisoformat(words[words.index("--since-time") + 1])
        self.asked.append(since)
        return LINE if self.written >= since else ""


class Stage:
    """What a fault needs of the world."""

    restarts = Restarts()


def inject(monkeypatch: pytest.MonkeyPatch, kubelet: Kubelet, disk: Disk) -> Awaitable[None]:
    async def living(component: str) -> list[Pod]:
        return [POSTGRES]

    monkeypatch.setattr(pods, "living", living)
    monkeypatch.setattr(node, "kubectl", kubelet.kubectl)
    monkeypatch.setattr(engine_faults, "DISKS", {"postgres": disk})
    monkeypatch.setattr(engine_faults, "BITES_S", 0.05)
    monkeypatch.setattr(engine_faults, "LOOK_S", 0.01)
    fault = FullDiskPostgres(random.Random(1))
    fault._killed = False
    return fault.inject(cast(World, cast(Any, Stage())))


async def test_a_line_of_the_fault_before_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    kubelet = Kubelet(written=datetime.now(UTC) - timedelta(seconds=20))

    with pytest.raises(NoBiteError, match="wrote on"):
        await inject(monkeypatch, kubelet, Disk())


async def test_a_line_of_the_second_in_which_the_disk_was_filled_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubelet, disk = Kubelet(written=datetime.now(UTC) + timedelta(seconds=1)), Disk()

    await inject(monkeypatch, kubelet, disk)

    assert disk.filled is not None
    assert all(0 <= (disk.filled - asked).total_seconds() < 2 for asked in kubelet.asked)
