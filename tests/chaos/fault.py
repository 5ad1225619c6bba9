"""What a fault is: it is made, ended, and proves that it bit.

A fault's parameters are drawn from a random generator alone, so that the same seed gives the same
sequence on any cluster. A fault that did not bite proves nothing, so it fails the run.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import ClassVar, Final

from argus_cli.settings import Settings

from tests.chaos import node, pods
from tests.chaos.load import Load
from tests.chaos.pods import Pod, Restarts
from tests.e2e.kubectl import NAMESPACE

RELEASE: Final = "argus"
BITES_S: Final = 60.0
"""How long a fault may take until it is seen to bite."""
LOOK_S: Final = 0.5
_OFTEN: Final = 2
"""Restarts of a container after which the kubelet waits 40 s before the next, then 80 s, 160 s."""


class NoBiteError(AssertionError):
    """The fault was made, and nothing noticed."""


@dataclass(slots=True)
class World:
    """What faults are made in."""

    settings: Settings
    load: Load
    restarts: Restarts = field(default_factory=Restarts)


class Fault(ABC):
    """One fault. `inject`, wait `hold` seconds, `lift`; then `proof` says in words how it bit."""

    kind: ClassVar[str]
    refuses: bool = False
    """Whether clients may be refused, or not answered, because of it."""
    hold: float = 0.0
    touches: frozenset[str] = frozenset()
    """Components that restart because of it; two faults at once touch different ones."""

    @abstractmethod
    def __init__(self, rng: random.Random) -> None:
        """Draws the parameters."""

    @property
    def name(self) -> str:
        """Kind and parameters."""
        return self.kind

    async def prepare(self, world: World) -> None:  # noqa: B027  # most faults need nothing
        """Makes ready for it while all is still well."""

    @abstractmethod
    async def inject(self, world: World) -> None:
        """Makes it, and waits for what can be seen only while it lasts."""

    async def lift(self, world: World) -> None:  # noqa: B027  # most faults end by themselves
        """Ends it, where it does not end by itself."""

    @abstractmethod
    async def proof(self, world: World) -> str:
        """How it bit; raises NoBiteError, after some time, where it did not."""


async def looking(component: str) -> AsyncIterator[list[Pod]]:
    """The component's pods that are not leaving, again and again for as long as a bite may take."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BITES_S
    while loop.time() < deadline:
        yield [pod for pod in await pods.look(component) if not pod.leaving]
        await asyncio.sleep(LOOK_S)


async def rested(pod: Pod) -> None:
    """Replaces a pod that has restarted often: the kubelet's patience is not what is tried here."""
    if pod.restarts >= _OFTEN:
        await node.kubectl("delete", "pod", pod.name, "-n", NAMESPACE, timeout=pods.READY_S)
        await pods.all_ready()


async def scale_stream(replicas: int) -> None:
    """Asks for so many streams."""
    words = ("scale", f"deployment/{RELEASE}-stream", f"--replicas={replicas}")
    await node.kubectl(*words, "-n", NAMESPACE)


async def metric(pod: Pod, sample: str) -> float:
    """One sample of a pod's metrics, 0 where it has none."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}:9090/proxy/metrics"
    for line in (await node.kubectl("get", "--raw", path)).splitlines():
        if line.startswith(f"{sample} "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0
