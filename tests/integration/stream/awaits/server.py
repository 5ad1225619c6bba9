"""Forks stream processes that die at a chosen point: `python -m …awaits.server PACKAGE`.

A line on standard input asks for a process: its environment, the point at which it is to kill
itself, and a file for the counts of points that it reached; or for the end of one. On standard
output come first the points that there are, then a line for each process that ended.

It forks from one process that has imported everything, because importing costs more than streaming
does. What runs in the child is the console script's `main`, whole.
"""

import gc
import importlib
import os
import pkgutil
import selectors
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from tests.integration.stream.awaits.points import Importer, Point, points

PACKAGE: Final = "argus_stream"
_READ_BYTES: Final = 65_536
_LATE: Final = (
    "uvicorn.lifespan.off",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)
"""Modules that would else be imported in each process, at the cost of half its time."""


class Job(msgspec.Struct, tag=True):
    """A process to fork; it kills itself at `point`, the `nth` time that it gets there."""

    name: str
    environment: dict[str, str]
    point: str | None = None
    nth: int = 1
    report: str | None = None
    """A file for the counts of points, written at a clean end."""


class Terminate(msgspec.Struct, tag=True):
    """Sends SIGTERM to a job's process, if it still runs."""

    name: str


Request = Job | Terminate


class Ready(msgspec.Struct, tag=True):
    """The first line: all points of the package."""

    points: list[Point]


class Ended(msgspec.Struct, tag=True):
    """A job's process has; `status` is its exit code, or minus the signal that killed it."""

    name: str
    status: int


Line = Ready | Ended


class _Counting:
    """Counts the points that a process reaches, and ends it at the chosen one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.job: Job | None = None

    def reached(self, point: str) -> None:
        self.counts[point] += 1
        job = self.job
        if job is not None and point == job.point and self.counts[point] == job.nth:
            os.kill(os.getpid(), signal.SIGKILL)


def _child(job: Job, counting: _Counting) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.environ.update(job.environment)
    counting.job = job
    status: int = importlib.import_module(f"{PACKAGE}.main").main()
    if job.report is not None:
        Path(job.report).write_bytes(msgspec.json.encode(counting.counts))
    return status


def _end_with(job: Job, counting: _Counting) -> NoReturn:
    """Runs the job in this process, which never returns to the server's own code."""
    status = os.EX_SOFTWARE
    try:
        status = _child(job, counting)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)


class _Server:
    """Forks by request and tells of ends; no threads and no signal handlers, for it forks."""

    def __init__(self, counting: _Counting) -> None:
        self._counting = counting
        self._selector = selectors.DefaultSelector()
        self._running: dict[str, int] = {}

    def serve(self) -> None:
        """Serves until standard input ends, then kills what still runs."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        unread = b""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._reap(key.data, key.fd)
                elif read := os.read(key.fd, _READ_BYTES):
                    *lines, unread = (unread + read).split(b"\n")
                    for line in lines:
                        self._answer(msgspec.json.decode(line, type=Request))
                else:
                    self._kill()
                    return

    def _answer(self, request: Request) -> None:
        if isinstance(request, Terminate):
            if request.name in self._running:
                os.kill(self._running[request.name], signal.SIGTERM)
            return
        pid = os.fork()
        if pid == 0:
            _end_with(request, self._counting)
        self._running[request.name] = pid
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, request.name)

    def _reap(self, name: str, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self._running.pop(name), 0)
        say(Ended(name, os.waitstatus_to_exitcode(status)))

    def _kill(self) -> None:
        for pid in self._running.values():
            os.kill(pid, signal.SIGKILL)


def say(line: Line) -> None:
    """Writes a line for the test."""
    os.write(1, msgspec.json.encode(line) + b"\n")


def _import(counting: _Counting) -> Path:
    """Imports the package, and what others import late; gives the package's directory."""
    sys.meta_path.insert(0, Importer(PACKAGE, counting.reached))
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    return Path(package.__path__[0])


def main() -> None:
    """Serves until standard input ends, then kills what still runs."""
    counting = _Counting()
    directory = _import(counting)
    say(Ready(points(directory)))
    _Server(counting).serve()


if __name__ == "__main__":
    main()
