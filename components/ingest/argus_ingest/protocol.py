"""uvicorn's HTTP protocol, but head and body of an answer leave in one system call.

uvicorn writes them one after the other, and uvloop sends each at once: for answers of a few bytes
the second call is the dearest part of all. So the first write of a turn of the loop waits for a
second one in the same turn, or for the turn's end.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PairingTransport(asyncio.Transport):
    """Joins two writes of one turn; everything else goes straight to the transport below."""

    def __init__(self, below: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._below = below
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Holds the first write of a pair until the second or until the end of this turn."""
        if self._held is None:
            self._held = bytes(data)
            self._loop.call_soon(self.flush)
        else:
            held, self._held = self._held, None
            self._below.write(held + data)

    def flush(self) -> None:
        """Writes what is held."""
        if self._held is not None:
            held, self._held = self._held, None
            self._below.write(held)

    def close(self) -> None:
        """Closes once all is written."""
        self.flush()
        self._below.close()

    def abort(self) -> None:
        """Closes at once."""
        self._held = None
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or being closed."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Stops the flow from the client."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Lets it flow again."""
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport below knows of the socket."""
        return self._below.get_extra_info(name, default)


class PairingProtocol(HttpToolsProtocol):
    """httptools' protocol on a transport that joins writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection."""
        super().connection_made(PairingTransport(transport, self.loop))
