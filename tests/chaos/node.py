"""The kind node that all pods of the test cluster share: signals, cut cables, full disks.

Everything here happens inside the node's container and is undone by what it returns or by `mend`;
nothing reaches the host. It never touches a cluster but the test's own.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Final

CONTEXT: Final = os.environ.get("ARGUS_E2E_CONTEXT", "kind-argus-test")
_NAME: Final = CONTEXT.removeprefix("kind-") + "-control-plane"
_TIMEOUT_S: Final = 30.0
_RULE: Final = "argus-chaos"
"""The comment of every firewall rule of ours."""
_DISKS: Final = "/var/argus-disks"
DISK_BYTES: Final = 8 * 1024**3
"""Size of the disks that hack/cluster.sh makes."""
_FILL: Final = """
for attempt in {1..100}; do
  # fails where something was written since it was measured
  mount -o remount,size=$(df -B1 --output=used . | tail -n 1) . 2>/dev/null || continue
  (( $(df -B1 --output=avail . | tail -n 1) )) || exit 0
done
exit 1
"""


class NodeError(AssertionError):
    """A command in the node, or kubectl, failed; says which, and what it printed."""


async def command(*words: str, timeout: float = _TIMEOUT_S, stdin: bytes | None = None) -> str:
    """Standard output of a command; raises NodeError where it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate(stdin)
    except TimeoutError as error:
        raise NodeError(f"{' '.join(words)}: not within {timeout:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise NodeError(f"{' '.join(words)}: {errors.decode() or output.decode()}")
    return output.decode()


async def inside(*words: str, timeout: float = _TIMEOUT_S) -> str:
    """Standard output of a command in the node."""
    return await command("docker", "exec", _NAME, *words, timeout=timeout)


async def shell(script: str, timeout: float = _TIMEOUT_S) -> str:
    """Standard output of a bash script in the node."""
    return await inside("bash", "-euo", "pipefail", "-c", script, timeout=timeout)


async def kubectl(*words: str, timeout: float = _TIMEOUT_S) -> str:
    """Standard output of `kubectl …`."""
    return await command("kubectl", *words, timeout=timeout)


async def get(*words: str) -> Any:
    """A resource, or a list of them, as JSON."""
    return json.loads(await kubectl("get", *words, "-o", "json"))


async def pid(container: str) -> int:
    """The pid, in the node, of a container's main process; `container` is containerd's id."""
    for line in (await inside("ctr", "-n", "k8s.io", "task", "ls")).splitlines():
        fields = line.split()
        if fields and fields[0] == container:
            return int(fields[1])
    raise NodeError(f"containerd runs no task {container}")


async def freeze(container: str) -> list[int]:
    """Stops all processes of a container, the main one first, so that no more come; their pids."""
    main = await pid(container)
    await signal(main, "STOP")
    listed = (await inside("ctr", "-n", "k8s.io", "task", "ps", container)).splitlines()[1:]
    others = [found for line in listed if (found := int(line.split()[0])) != main]
    await _signal_those_left(others, "STOP")
    return [main, *others]


async def thaw(processes: list[int]) -> None:
    """Lets stopped processes go on, the main one last."""
    await _signal_those_left([*reversed(processes)], "CONT")


async def _signal_those_left(processes: list[int], name: str) -> None:
    """To each its own call: one that has gone must not spare the others."""
    await shell("\n".join(f"kill -{name} {process} 2>/dev/null || true" for process in processes))


async def signal(process: int, name: str) -> None:
    """Sends a signal, such as `KILL`, to one process of the node."""
    await inside("kill", f"-{name}", str(process))


async def state(process: int) -> str:
    """The state letter of a process (proc(5)): `T` is stopped; empty where there is none."""
    script = f"sed -n 's/^State:\\s*\\(.\\).*/\\1/p' /proc/{process}/status 2>/dev/null || true"
    return (await shell(script)).strip()


async def connects(process: int, address: str, port: int) -> bool:
    """Whether TCP from the network namespace of this process to that port opens within 1 s."""
    attempt = f"timeout 1 bash -c '</dev/tcp/{address}/{port}'"
    script = f"nsenter -t {process} -n {attempt} 2>/dev/null && echo yes || echo no"
    return (await shell(script)).strip() == "yes"


@dataclass(frozen=True, slots=True)
class Cut:
    """All packets between two addresses are dropped on their way through the node."""

    one: str
    other: str

    @property
    def _rules(self) -> list[str]:
        return [
            f"FORWARD -s {a} -d {b} -m comment --comment {_RULE} -j DROP"
            for a, b in ((self.one, self.other), (self.other, self.one))
        ]

    async def make(self) -> None:
        """Cuts."""
        await shell("\n".join(f"iptables -w -I {rule}" for rule in self._rules))

    async def heal(self) -> None:
        """Connects again."""
        await shell("\n".join(f"iptables -w -D {rule}" for rule in self._rules))

    async def dropped(self) -> int:
        """How many packets were dropped so far."""
        listed = await inside("iptables", "-w", "-nvxL", "FORWARD")
        return sum(
            int(fields[0])
            for line in listed.splitlines()
            if _RULE in line
            for fields in [line.split()]
            if {self.one, self.other} <= set(fields)
        )


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume of the node that is a file system of its own, so that it may be filled."""

    path: str

    async def fill(self) -> None:
        """Leaves no byte free, by making the file system as small as what is on it.

        Raises NodeError where it is no tmpfs: that would be the host's disk.
        """
        await self._in_its_directory(_FILL)

    async def full(self) -> bool:
        """Whether no byte is free."""
        return await self._in_its_directory("df -B1 --output=avail . | tail -n 1") == "0"

    async def free(self) -> None:
        """Gives it its whole size again."""
        await self._in_its_directory(f"mount -o remount,size={DISK_BYTES} .")

    async def _in_its_directory(self, script: str) -> str:
        guard = f"cd {self.path}; test $(findmnt -no FSTYPE -T .) = tmpfs"
        return (await shell(f"{guard}; {script}")).strip()


DISKS: Final = {engine: Disk(f"{_DISKS}/{engine}") for engine in ("kafka", "postgres")}
"""Those of the test cluster's engines."""


async def mend() -> None:
    """Undoes whatever an interrupted run may have left."""
    for disk in DISKS.values():
        await disk.free()
    await shell(
        "iptables -w -S FORWARD | sed -n 's/^-A \\(.*argus-chaos.*\\)/\\1/p' "
        "| while read -r rule; do iptables -w -D $rule; done"
    )
