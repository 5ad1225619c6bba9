"""One request of the hot route, as the parser of its connection gives it, and the answer to it.

Below ASGI, whose scopes, messages and cycles are of no use to one route (ADR 0010). What
an ASGI server does for an application is therefore done here: the body piece by piece and no faster
than it is read, `100 Continue`, the client that hangs up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from argus_contract.sizes import KIB

from argus_ingest.errors import Header

PATH: Final = "/v1/events"
"""The hot route."""

_UNREAD: Final = 64 * KIB
"""Bytes of a body that may wait to be read; more is left to the client's end of the connection."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGoneError(Exception):
    """The client hung up before its body was complete: there is nobody to answer."""


class Connection(Protocol):
    """What an exchange comes from."""

    client: tuple[str, int] | None
    """The peer's address and port."""

    def pause_reading(self) -> None:
        """Takes nothing more from the client."""

    def resume_reading(self) -> None:
        """Takes more again."""

    def write(self, data: bytes) -> bool:
        """Writes at once; whether more has to wait until it is `drained`."""

    async def drained(self) -> None:
        """Returns when the client takes more."""

    def finished(self, *, keep_alive: bool) -> None:
        """The answer is written: the next request's turn, or the end."""


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "_body",
        "_complete",
        "_connection",
        "_continued",
        "_gone",
        "_waiter",
        "fields",
        "headers",
        "keep_alive",
        "method",
        "query",
        "response_complete",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        query: bytes,
        fields: Sequence[Header],
        *,
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.query = query
        self.fields = fields
        """The lines of the head in their order, names in lower case."""
        self.headers: Mapping[bytes, bytes] = dict(fields)
        """The last line of each name."""
        self.keep_alive = keep_alive
        """Whether another request may come after the answer."""
        self.response_complete = False
        self._body = b""
        self._complete = False
        self._continued = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address and port."""
        return self._connection.client

    def feed(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._body = self._body + piece if self._body else piece
        if len(self._body) > _UNREAD:
            self._connection.pause_reading()
        self._wake()

    def end(self) -> None:
        """All of the body has come."""
        self._complete = True
        self._wake()

    def hang_up(self) -> None:
        """The client is gone."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take_whole(self) -> bytes | None:
        """What is left of the body if all of it has come, so that nobody has to wait; else None."""
        if not self._complete or self._gone:
            return None
        body, self._body = self._body, b""
        self._connection.resume_reading()
        return body

    async def read(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more comes; raises ClientGoneError."""
        if not self._body and not self._complete:
            await self._wait()
        if self._gone:
            raise ClientGoneError
        piece, self._body = self._body, b""
        self._connection.resume_reading()
        return piece, not self._complete

    async def _wait(self) -> None:
        if not self._continued:
            self._continued = True
            if self.headers.get(b"expect", b"").lower() == b"100-continue":
                self._connection.write(_CONTINUE)
        while not (self._body or self._complete or self._gone):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def write(self, data: bytes) -> bool:
        """Writes the answer, if the client is still there; whether it has yet to be `drained`."""
        return not self._gone and self._connection.write(data)

    async def drained(self) -> None:
        """Returns when the client takes more."""
        await self._connection.drained()

    def finish(self) -> None:
        """The answer is complete."""
        if not self.response_complete:
            self.response_complete = True
            self._connection.finished(keep_alive=self.keep_alive)
