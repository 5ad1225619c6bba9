"""The release's pods as the API server sees them, and how often each was made to restart.

A restart that nobody made is a failure, however well everything recovers from it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos import node
from tests.e2e.kubectl import NAMESPACE

ENGINES: Final = ("kafka", "valkey", "postgres")
PROCESSES: Final = ("ingest", "stream", "operator")
READY_S: Final = 360.0
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod with its one container; `container` is containerd's id, empty before it runs."""

    name: str
    uid: str
    component: str
    address: str
    container: str
    restarts: int
    ready: bool
    leaving: bool
    ended: str
    """How its container last ended, in Kubernetes' words."""

    async def pid(self) -> int:
        """The pid of its main process in the node; raises NodeError where it does not run."""
        return await node.pid(self.container)


async def look(*components: str) -> list[Pod]:
    """The pods of these components, or of all, those that are leaving included."""
    listed = await node.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=argus")
    found = [_pod(item) for item in listed["items"]]
    return [pod for pod in found if pod.component in (components or ENGINES + PROCESSES)]


async def living(component: str) -> list[Pod]:
    """The pods of a component that are not leaving, by name; fails where there is none."""
    found = [pod for pod in await look(component) if not pod.leaving]
    assert found, f"there is no pod of {component}"
    return sorted(found, key=lambda pod: pod.name)


def _pod(item: Any) -> Pod:
    [status] = item["status"].get("containerStatuses") or [{}]
    ended = status.get("lastState", {}).get("terminated", {})
    return Pod(
        name=item["metadata"]["name"],
        uid=item["metadata"]["uid"],
        component=item["metadata"]["labels"]["app.kubernetes.io/component"],
        address=item["status"].get("podIP", ""),
        container=status.get("containerID", "").removeprefix("containerd://"),
        restarts=status.get("restartCount", 0),
        ready=any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in item["status"].get("conditions", ())
        ),
        leaving="deletionTimestamp" in item["metadata"],
        ended=f"{ended.get('reason', '')} {ended.get('exitCode', '')}".strip(),
    )


async def wanted() -> dict[str, int]:
    """How many pods each component is to have."""
    workloads = await node.get("deployments,statefulsets", "-n", NAMESPACE)
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["replicas"]
        for one in workloads["items"]
    }


async def all_ready(within: float = READY_S) -> list[Pod]:
    """The pods once each component has all of its own, ready; fails after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        numbers = await wanted()
        found = [pod for pod in await look() if not pod.leaving]
        ready = {
            component: sum(pod.ready for pod in found if pod.component == component)
            for component in numbers
        }
        if ready == numbers and all(pod.ready for pod in found):
            return found
        late = asyncio.get_running_loop().time() > deadline
        assert not late, f"not ready within {within:.0f} s: {ready} of {numbers}"
        await asyncio.sleep(_LOOK_S)


@dataclass(slots=True)
class Restarts:
    """How often each pod, by uid, was made to restart. A new pod was made to 0 times."""

    _expected: dict[str, int] = field(default_factory=dict)
    _excused: set[str] = field(default_factory=set)

    def begin(self, found: Iterable[Pod]) -> None:
        """What was before does not count."""
        self._expected = {pod.uid: pod.restarts for pod in found}

    def made(self, pod: Pod) -> None:
        """This pod is about to be restarted once."""
        self._expected[pod.uid] = self._expected.get(pod.uid, 0) + 1

    def excuse(self, component: str) -> None:
        """An engine may end by itself, as often as it wants, until the next `judge`."""
        assert component in ENGINES, f"{component} has no excuse"
        self._excused.add(component)

    async def judge(self, found: Iterable[Pod]) -> list[str]:
        """The restarts that nobody made, or that were made and did not happen, in words.

        With the last lines of what ended.
        """
        odd = []
        for pod in found:
            expected = self._expected.get(pod.uid, 0)
            if pod.component in self._excused:
                self._expected[pod.uid] = max(expected, pod.restarts)
            elif pod.restarts != expected:
                odd.append(
                    f"{pod.name} restarted {pod.restarts} times instead of {expected}"
                    f" (last end: {pod.ended}): {await _last_words(pod)}"
                )
                self._expected[pod.uid] = pod.restarts
        self._excused.clear()
        return odd


async def _last_words(pod: Pod) -> str:
    try:
        words = ("logs", pod.name, "-n", NAMESPACE, "--previous", "--tail", "40")
        return await node.kubectl(*words)
    except node.NodeError as error:
        return str(error)
