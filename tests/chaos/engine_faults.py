"""Faults of the engines and of the way to them: cut off, restarted, full, emptied."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

from argus_contract import redis_keys
from argus_runtime.redis import connect

from tests.chaos import node, pods
from tests.chaos.fault import BITES_S, LOOK_S, RELEASE, Fault, NoBiteError, World, looking, rested
from tests.chaos.node import DISKS, Cut
from tests.chaos.pods import Pod
from tests.chaos.tenants import TENANT
from tests.e2e.kubectl import NAMESPACE

PORTS: Final = {"kafka": 9092, "valkey": 6379, "postgres": 5432}
_NO_SPACE: Final = "No space left on device"


class CutCable(Fault):
    """No packet gets through between the pods of a component and an engine's."""

    engine: ClassVar[str]
    components: ClassVar[Sequence[str]]

    def __init__(self, rng: random.Random) -> None:
        self.component = rng.choice(self.components)
        self.refuses = (self.component, self.engine) == ("ingest", "kafka")
        self.hold = rng.uniform(5, 15)
        self._cuts: list[Cut] = []
        self._probed = 0
        self._dropped = 0

    @property
    def name(self) -> str:
        return f"{self.kind} - {self.component}"

    async def inject(self, world: World) -> None:
        [engine] = await pods.living(self.engine)
        port = PORTS[self.engine]
        for pod in await pods.living(self.component):
            pid = await pod.pid()
            if not await node.connects(pid, engine.address, port):
                raise NoBiteError(f"{pod.name} did not reach {engine.name} in the first place")
            cut = Cut(pod.address, engine.address)
            self._cuts.append(cut)
            await cut.make()
            if await node.connects(pid, engine.address, port):
                raise NoBiteError(f"{pod.name} reaches {engine.name} all the same")
            self._probed += await cut.dropped()
        if self.component == "operator":
            await _give_work(world)

    async def lift(self, world: World) -> None:
        for cut in self._cuts:
            self._dropped += await cut.dropped()
            await cut.heal()

    async def proof(self, world: World) -> str:
        own = self._dropped - self._probed
        if own <= 0:
            raise NoBiteError("nothing but the probe tried to get through")
        return f"{own} packets dropped in {self.hold:.0f} s"


async def _give_work(world: World) -> None:
    """Changes a tenant in what does not matter, so that the operator reconciles it."""
    tenant = world.load.flows[0].tenant
    name = f"chaos {asyncio.get_running_loop().time():.0f}"
    await node.kubectl(
        *("patch", "argustenant", TENANT, "-n", tenant.namespace, "--type=merge"),
        *("-p", json.dumps({"spec": {"displayName": name}})),
    )


class CutKafka(CutCable):
    kind = "cut kafka"
    engine = "kafka"
    components = ("ingest", "stream", "operator")


class CutRedis(CutCable):
    kind = "cut redis"
    engine = "valkey"
    components = ("ingest", "stream")


class CutPostgres(CutCable):
    kind = "cut postgres"
    engine = "postgres"
    components = ("stream", "operator")


class Restart(Fault):
    """An engine is restarted as its owner would: its pod is replaced."""

    kind = "restart"

    def __init__(self, rng: random.Random) -> None:
        self.engine = rng.choice(pods.ENGINES)
        self.touches = frozenset({self.engine})
        self.refuses = self.engine == "kafka"
        self._rollout = rng.random() < 0.5
        self._before: Pod | None = None

    @property
    def name(self) -> str:
        return f"{'rollout restart' if self._rollout else 'delete pod'} {self.engine}"

    async def inject(self, world: World) -> None:
        [self._before] = await pods.living(self.engine)
        if self._rollout:
            what = f"statefulset/{RELEASE}-{self.engine}"
            await node.kubectl("rollout", "restart", what, "-n", NAMESPACE)
        else:
            words = ("delete", "pod", self._before.name, "--wait=false")
            await node.kubectl(*words, "-n", NAMESPACE)

    async def proof(self, world: World) -> str:
        assert self._before is not None
        async for found in looking(self.engine):
            for pod in found:
                if pod.uid != self._before.uid and pod.container:
                    return f"{pod.name}: uid {self._before.uid[:8]} is {pod.uid[:8]}"
        raise NoBiteError(f"{self._before.name} was not replaced")


class FreezeEngine(Fault):
    """An engine's processes are all stopped: it takes connections, and answers nothing."""

    kind = "freeze engine"

    def __init__(self, rng: random.Random) -> None:
        self.engine = rng.choice(pods.ENGINES)
        self.touches = frozenset({self.engine})
        self.refuses = self.engine == "kafka"
        self.hold = rng.uniform(4, 9)
        self._pids: list[int] = []
        self._seen = ""

    @property
    def name(self) -> str:
        return f"freeze {self.engine}"

    async def inject(self, world: World) -> None:
        [pod] = await pods.living(self.engine)
        self._pids = await node.freeze(pod.container)
        states = {await node.state(pid) for pid in self._pids}
        self._seen = f"{len(self._pids)} processes stopped for {self.hold:.0f} s"
        if not states <= {"T", "Z"}:  # one that had ended is reaped later
            raise NoBiteError(f"processes in states {states}")

    async def lift(self, world: World) -> None:
        await node.thaw(self._pids)

    async def proof(self, world: World) -> str:
        [pod] = await pods.living(self.engine)
        if await pod.pid() != self._pids[0]:
            raise NoBiteError(f"{pod.name} did not survive: pid {self._pids[0]} is gone")
        return self._seen


class FullDisk(Fault):
    """The engine's file system has no room for another byte."""

    engine: ClassVar[str]

    def __init__(self, rng: random.Random) -> None:
        self.hold = rng.uniform(3, 8)
        self._killed = rng.random() < 0.3
        self._said = ""

    @property
    def name(self) -> str:
        return f"{self.kind}{' and killed' if self._killed else ''}"

    async def prepare(self, world: World) -> None:
        [pod] = await pods.living(self.engine)
        await rested(pod)

    async def inject(self, world: World) -> None:
        world.restarts.excuse(self.engine)
        [pod] = await pods.living(self.engine)
        since = datetime.now(UTC)
        await DISKS[self.engine].fill()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BITES_S
        while not self._said:
            if loop.time() > deadline:
                raise NoBiteError(f"{pod.name} wrote on in spite of a full disk")
            await asyncio.sleep(LOOK_S)
            self._said = await _complaint(pod, since)
        if self._killed:
            await self._kill()

    async def _kill(self) -> None:
        """It cannot come back before there is room: restarts find the disk full."""
        [pod] = await pods.living(self.engine)
        try:
            await node.signal(await pod.pid(), "KILL")
        except node.NodeError:  # it has ended by itself
            return

    async def lift(self, world: World) -> None:
        await DISKS[self.engine].free()

    async def proof(self, world: World) -> str:
        return self._said


class FullDiskKafka(FullDisk):
    kind = "full disk kafka"
    engine = "kafka"
    refuses = True


class FullDiskPostgres(FullDisk):
    kind = "full disk postgres"
    engine = "postgres"


async def _complaint(pod: Pod, since: datetime) -> str:
    """The engine's own line about its full disk, empty while it has not written one since then.

    A line about an earlier fault's full disk is no proof of this one; the kubelet takes whole
    seconds.
    """
    moment = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    for previous in ((), ("--previous",)):
        words = ("logs", pod.name, "-n", NAMESPACE, "--since-time", moment, *previous)
        try:
            said = await node.kubectl(*words)
        except node.NodeError:  # no container of it has run before, or none runs yet
            continue
        for line in said.splitlines():
            if _NO_SPACE in line:
                return line.strip()[:200]
    return ""


class Flush(Fault):
    """Redis loses everything that it holds."""

    kind = "redis flushall"

    def __init__(self, rng: random.Random) -> None:
        self._seen = ""

    async def inject(self, world: World) -> None:
        redis = connect(world.settings.require_redis())
        try:
            tenant = world.load.flows[0].tenant
            fence = redis_keys.fence(tenant.id, tenant.topic, 0)
            before, known = await redis.dbsize(), await redis.get(fence)
            await redis.flushall()
            after = await redis.dbsize()
        finally:
            await redis.aclose()
        self._seen = f"{before} keys, then {after}"
        if known is None or before <= after:
            raise NoBiteError(f"there was nothing to lose: {self._seen}")

    async def proof(self, world: World) -> str:
        return self._seen
