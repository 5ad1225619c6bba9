"""uvicorn as a part of a process rather than its owner: no signal handlers, no access log."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn


class Server(uvicorn.Server):
    """A server that leaves signals to the process it lives in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds and listens, then sets `listening`."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing: `argus_runtime.lifecycle` owns the signals."""
        yield

    @property
    def bound_port(self) -> int:
        """The port it listens on, also where the configured one was 0."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[Server]:
    """Serves while the block runs; leaving it waits for requests in flight.

    How long, is `config.timeout_graceful_shutdown`. A server that dies cancels the block and
    raises an ExceptionGroup.
    """
    server = Server(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(), name="http-server")
        try:
            await server.listening.wait()
            yield server
        finally:
            server.should_exit = True
