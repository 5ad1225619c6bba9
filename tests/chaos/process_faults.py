"""Faults of our own processes: killed, frozen, replaced, scaled. Killed engines are here too."""

import asyncio
import random
from typing import ClassVar, Final

from tests.chaos import node, pods
from tests.chaos.fault import (
    RELEASE,
    Fault,
    NoBiteError,
    World,
    looking,
    metric,
    rested,
    scale_stream,
)
from tests.chaos.pods import Pod
from tests.e2e.kubectl import NAMESPACE, ROOT

MEMBER_TTL_S: Final = 10.0
"""ARGUS_MEMBERSHIP__TTL, as the stream has it by default."""


class Kill(Fault):
    """kill -9 of one pod's main process, from the node."""

    component: ClassVar[str]

    def __init__(self, rng: random.Random) -> None:
        self.touches = frozenset({self.component})
        self._which = rng.random()
        self._pod: Pod | None = None
        self._pid = 0

    async def prepare(self, world: World) -> None:
        await rested(await self._victim())

    async def _victim(self) -> Pod:
        found = await pods.living(self.component)
        return found[int(self._which * len(found))]

    async def inject(self, world: World) -> None:
        self._pod = await self._victim()
        self._pid = await self._pod.pid()
        world.restarts.made(self._pod)
        await node.signal(self._pid, "KILL")

    async def proof(self, world: World) -> str:
        before = self._pod
        assert before is not None
        async for found in looking(self.component):
            for pod in found:
                if pod.uid == before.uid and pod.container not in ("", before.container):
                    return f"{pod.name}: pid {self._pid} is {await pod.pid()}"
        raise NoBiteError(f"{before.name} still runs the container that was killed")


class KillIngest(Kill):
    kind = "kill ingest"
    component = "ingest"
    refuses = True


class KillStream(Kill):
    kind = "kill stream"
    component = "stream"


class KillOperator(Kill):
    kind = "kill operator"
    component = "operator"


class KillKafka(Kill):
    kind = "kill kafka"
    component = "kafka"
    refuses = True


class KillRedis(Kill):
    kind = "kill redis"
    component = "valkey"


class KillPostgres(Kill):
    kind = "kill postgres"
    component = "postgres"


class FreezeStream(Fault):
    """SIGSTOP of one of two streams for longer than it may be silent; then it goes on, a zombie."""

    kind = "freeze stream"

    def __init__(self, rng: random.Random) -> None:
        self.hold = 1.5 * MEMBER_TTL_S
        self._which = rng.random()
        self._pod: Pod | None = None
        self._pid = 0
        self._seen = ""

    async def inject(self, world: World) -> None:
        await scale_stream(2)
        await pods.all_ready()
        found = await pods.living("stream")
        self._pod = found[int(self._which * len(found))]
        self._pid = await self._pod.pid()
        await node.signal(self._pid, "STOP")
        loop = asyncio.get_running_loop()
        frozen = loop.time()
        await self._until(ready=False)
        self._seen = f"state {await node.state(self._pid)}, not ready"
        self.hold -= loop.time() - frozen

    async def _until(self, *, ready: bool) -> None:
        assert self._pod is not None
        async for found in looking("stream"):
            if any(pod.uid == self._pod.uid and pod.ready is ready for pod in found):
                return
        raise NoBiteError(f"{self._pod.name} did not become {'' if ready else 'un'}ready")

    async def lift(self, world: World) -> None:
        assert self._pod is not None
        others = [pod for pod in await pods.living("stream") if pod.uid != self._pod.uid]
        members = [await metric(pod, "argus_stream_members") for pod in others]
        await node.signal(self._pid, "CONT")
        if members != [1]:
            raise NoBiteError(f"the other stream still counts the frozen one: {members}")
        await self._until(ready=True)
        fenced = await metric(self._pod, 'argus_stream_store_failures_total{kind="fenced"}')
        self._seen += f", taken over, fenced {fenced:.0f} times"
        pid = await self._pod.pid()
        await scale_stream(1)
        if pid != self._pid:
            raise NoBiteError(f"the frozen process did not survive: pid {self._pid} is {pid}")

    async def proof(self, world: World) -> str:
        assert self._pod is not None
        return f"{self._pod.name}: {self._seen}"


class Roll(Fault):
    """A rolling update of the chart that replaces each of our pods."""

    kind = "rolling update"

    def __init__(self, rng: random.Random) -> None:
        self._mark = f"{rng.getrandbits(32):08x}"
        self._before: dict[str, str] = {}

    async def inject(self, world: World) -> None:
        self._before = {pod.uid: pod.name for pod in await pods.look(*pods.PROCESSES)}
        marks = [f"{name}.podAnnotations.chaos=m{self._mark}" for name in pods.PROCESSES]
        await node.command(
            *("helm", "upgrade", RELEASE, str(ROOT / "charts" / "argus"), "-n", NAMESPACE),
            *("--reset-then-reuse-values", "--history-max", "3", "--set", ",".join(marks)),
            *("--wait", "--timeout", "180s"),
            timeout=200,
        )

    async def proof(self, world: World) -> str:
        found = [pod for pod in await pods.look(*pods.PROCESSES) if not pod.leaving]
        kept = [pod.name for pod in found if pod.uid in self._before]
        if kept:
            raise NoBiteError(f"{kept} were not replaced")
        return f"{len(self._before)} pods replaced by {len(found)}"


class Scale(Fault):
    """The stream scales from one to three, and back to one."""

    kind = "scale stream"

    def __init__(self, rng: random.Random) -> None:
        self.hold = rng.uniform(2, 6)
        self._seen: list[float] = []

    async def inject(self, world: World) -> None:
        await scale_stream(3)
        await pods.all_ready()
        async for found in looking("stream"):
            self._seen = [await metric(pod, "argus_stream_members") for pod in found]
            if self._seen == [3, 3, 3]:
                return
        raise NoBiteError(f"three streams know of {self._seen} members")

    async def lift(self, world: World) -> None:
        await scale_stream(1)

    async def proof(self, world: World) -> str:
        async for found in looking("stream"):
            if len(found) == 1:
                return f"three members, then {found[0].name} alone"
        raise NoBiteError("the stream was not scaled back")
