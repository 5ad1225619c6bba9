"""A TCP proxy in front of one engine, so that a test can take it away without touching it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
CHUNK = 65_536


class Proxy:
    """Forwards to a port; can be slow, hang (nothing passes) or refuse (nobody connects)."""

    def __init__(self, target: int, *, is_kafka: bool = False) -> None:
        """A broker tells clients its own address; with `is_kafka` they are told the proxy's."""
        self._target = target
        self._is_kafka = is_kafka
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.delay = 0.0
        """Seconds that a question and its answer are held back."""

    async def start(self) -> None:
        """Listens, on the same port each time."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        """Connections stay, nothing passes, as when a host freezes."""
        self._open.clear()

    def resume(self) -> None:
        """What was held back passes."""
        self._open.set()

    async def refuse(self) -> None:
        """Connections are cut and new ones refused, as when a process is gone."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer))
                answers = self._copy_frames if self._is_kafka else self._copy
                group.create_task(answers(far_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
            self._writers -= {writer, far_writer}

    async def _hold(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay / 2)
        await self._open.wait()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._hold()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("the other end closed")

    async def _copy_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Kafka's answers, one at a time, with the broker's address replaced."""
        told = HOST.encode() + self._target.to_bytes(4, "big")
        ours = HOST.encode() + self.port.to_bytes(4, "big")
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big"))
            await self._hold()
            writer.write(head + body.replace(told, ours))
            await writer.drain()


@asynccontextmanager
async def proxied(target: int, *, is_kafka: bool = False) -> AsyncIterator[Proxy]:
    """A proxy while the block runs."""
    proxy = Proxy(target, is_kafka=is_kafka)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.refuse()
