"""The test's side of the fork server."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.integration.stream.awaits.points import Point
from tests.integration.stream.awaits.server import Ended, Job, Line, Ready, Request, Terminate

_END_SECONDS: Final = 20
_LINE_BYTES: Final = 1 << 20


@dataclass(slots=True, eq=False)
class Process:
    """A stream process that the server forked."""

    job: Job
    server: "ForkServer"
    ended: "asyncio.Future[int]"
    """Its exit code, or minus the signal that killed it."""

    async def end(self) -> int:
        """Sends SIGTERM if it has not ended, and gives how it ended."""
        self.server.ask(Terminate(self.job.name))
        await asyncio.wait({self.ended}, timeout=_END_SECONDS)
        return self.ended.result()


class ForkServer:
    """Forks processes by request."""

    def __init__(self, server: asyncio.subprocess.Process) -> None:
        self._server = server
        self._processes: dict[str, Process] = {}
        self.points: list[Point] = []
        """Every point of the package, as the server's processes run it."""

    def fork(self, job: Job) -> Process:
        """A new process; names of jobs are unique."""
        ended = asyncio.get_running_loop().create_future()
        process = self._processes[job.name] = Process(job, self, ended)
        self.ask(job)
        return process

    def ask(self, request: Request) -> None:
        """Sends a request to the server."""
        assert self._server.stdin is not None
        self._server.stdin.write(msgspec.json.encode(request) + b"\n")

    async def follow(self, ready: asyncio.Event) -> None:
        """Takes what the server says, until it ends."""
        assert self._server.stdout is not None
        async for line in self._server.stdout:
            match msgspec.json.decode(line, type=Line):
                case Ready(points):
                    self.points = points
                    ready.set()
                case Ended(name, status):
                    self._processes.pop(name).ended.set_result(status)
        for process in self._processes.values():
            process.ended.set_exception(RuntimeError("the fork server has ended"))
            process.ended.exception()  # waited for or not, nobody is to be warned of it


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """A fork server, ended with all its processes."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.stream.awaits.server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    made = ForkServer(server)
    ready = asyncio.Event()
    following = asyncio.create_task(made.follow(ready))
    try:
        async with asyncio.timeout(30):
            await ready.wait()
        yield made
    finally:
        assert server.stdin is not None
        server.stdin.close()
        await server.wait()
        await following
