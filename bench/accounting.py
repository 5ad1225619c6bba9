"""What the kernel charged a process and all its descendants: CPU time and memory, from /proc.

The formats are those of proc_pid_stat(5) and proc_pid_smaps_rollup(5). A child that has ended and
was waited for is in its parent's cutime and cstime, so a tree's sum never goes back.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
MICROS: Final = 1e6
"""Of a second: CPU is told in µs."""

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat: CPU in seconds, resident memory in bytes."""

    pid: int
    parent: int
    cpu: float
    resident: int


Table = Mapping[int, Process]
"""All processes by pid."""
Command = Callable[[int], Sequence[str]]
"""What tells the words that a process was started with."""


def parse_stat(text: str) -> Process:
    """Reads a line of /proc/<pid>/stat; the program's name may hold blanks and parentheses."""
    name_end = text.rindex(")")
    pid = int(text[: text.index(" ")])
    fields = text[name_end + 2 :].split()
    ticks = sum(int(field) for field in fields[11:15])
    return Process(pid, int(fields[1]), ticks / _TICKS, int(fields[21]) * _PAGE)


def table() -> Table:
    """All processes now."""
    found: dict[int, Process] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since the directory was listed
            process = parse_stat(text)
            found[process.pid] = process
    return found


def tree(processes: Table, root: int) -> list[Process]:
    """The process `root` and its descendants; raises LookupError where it has ended."""
    if root not in processes:
        raise LookupError(f"process {root} has ended")
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found, waiting = [], [processes[root]]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process.pid, [])
    return found


def command(pid: int) -> list[str]:
    """The words that a process was started with; empty for a kernel thread or one that ended."""
    try:
        text = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.decode(errors="replace").rstrip("\0").split("\0") if text else []


def cpu(processes: Table, roots: Iterable[int]) -> float:
    """User and system seconds of these trees since they began."""
    return sum(process.cpu for root in roots for process in tree(processes, root))


def resident(processes: Table, roots: Iterable[int]) -> int:
    """The most bytes that any one of these trees has resident."""
    return max(sum(process.resident for process in tree(processes, root)) for root in roots)
