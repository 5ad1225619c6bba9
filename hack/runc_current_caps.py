#!/usr/bin/env python3
"""Run runc with every container's capabilities narrowed to those that this host's root holds.

`docker run --privileged`, which kind needs, asks for every capability that the kernel knows, and
runc fails where the host's bounding set lacks one: in a sandboxed virtual machine or a nested
container. containerd's CRI plugin narrows in the same way. This must never add a capability, and
changes nothing else of a container.

Usage: as Docker's runtime, with runc's own arguments.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# In the order of their numbers, which are the bits of CapBnd: linux/capability.h.
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]


def held() -> set[str]:
    """Return the names of the capabilities in this process's bounding set."""
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:"))
    return {f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1}


def narrow(process: dict[str, Any]) -> None:
    """Drop from an OCI process object each capability that is not held."""
    sets = process.get("capabilities") or {}
    have = held()
    for name in sets:
        sets[name] = [capability for capability in sets[name] if capability in have]


def argument(name: str) -> Path | None:
    """Return the value of one of runc's options, if it was given."""
    return Path(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else None


def main() -> None:
    """Narrow the specification that runc is about to read, then become runc."""
    if path := argument("--process"):  # exec: a process object alone
        spec = json.loads(path.read_text())
        narrow(spec)
        path.write_text(json.dumps(spec))
    elif bundle := argument("--bundle"):  # create and run: a container's whole specification
        path = bundle / "config.json"
        spec = json.loads(path.read_text())
        narrow(spec["process"])
        path.write_text(json.dumps(spec))
    os.execvp("runc", ["runc", *sys.argv[1:]])  # noqa: S606, S607 - becoming runc is the purpose


if __name__ == "__main__":
    main()
