"""HTTP without a library: a client so cheap that what it measures is the server."""

import asyncio
import time
from typing import Final, NamedTuple

HOST: Final = "127.0.0.1"
PATIENCE: Final = 30.0
"""Seconds after which an answer is not expected any more."""


class Answer(NamedTuple):
    """A response; `seconds` from the first byte sent to the last one read."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def request(key: str, body: bytes, *lines: str) -> bytes:
    """POST /v1/events as bytes, with further header lines."""
    head = (
        "POST /v1/events HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"authorization: Bearer {key}",
        f"content-length: {len(body)}",
        *lines,
        "",
        "",
    )
    return "\r\n".join(head).encode() + body


class Connection:
    """One connection at a time, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, raw: bytes) -> Answer:
        """Sends a request and reads its answer; raises OSError, EOFError and TimeoutError."""
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            if self._streams is None:
                self._streams = await asyncio.open_connection(HOST, self._port)
            reader, writer = self._streams
            try:
                writer.write(raw)
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines)
                    if name
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
            except BaseException:
                self.close()
                raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, body, time.perf_counter() - began)

    def close(self) -> None:
        """Drops the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
