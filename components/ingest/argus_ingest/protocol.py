"""uvicorn's HTTP protocol with two changes: what uvicorn leaves open, and what it does twice.

It bounds neither the size of a request's head nor the time that one may take, so anybody could have
us remember a head without end, before any guard has seen it. Here such a connection ends.

It writes head and body of an answer one after the other, and uvloop sends each at once: for answers
of a few bytes the second call is the dearest part of all. So the first write of a turn of the loop
waits for a second one in the same turn, or for the turn's end.
"""

import asyncio
from typing import Any, Final

from argus_contract.sizes import KIB
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 * KIB
"""Largest head of a request that does not come in one piece; a piece is at most 256 KiB."""
HEAD_TIMEOUT: Final = 10.0
"""Seconds in which a connection's first head, or a head once begun, must be there."""


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
    """httptools' protocol on a transport that joins writes, with bounds for heads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection."""
        super().connection_made(PairingTransport(transport, self.loop))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses a piece, after which a head may still be incomplete."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        """A request begins with this piece."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
