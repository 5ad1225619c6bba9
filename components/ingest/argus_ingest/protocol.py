"""uvicorn's HTTP protocol with two changes: what uvicorn leaves open, and what ASGI makes dear.

It bounds neither the size of a request's head nor the time that one may take, so anybody could have
us remember a head without end, before any guard has seen it. Here such a connection ends.

And requests of the hot route go to their endpoint as they are, without ASGI in between (ADR 0010).
All others go uvicorn's way, also on the same connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from math import inf
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from argus_contract.sizes import KIB
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from argus_ingest.exchange import PATH, Exchange

HEAD_BYTES: Final = 64 * KIB
"""Largest head of a request that does not come in one piece; a piece is at most 256 KiB."""
HEAD_TIMEOUT: Final = 10.0
"""Seconds in which a connection's first head, or a head once begun, must be there."""

_PATH: Final = PATH.encode()

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """What the server serves: the hot route by itself, and the site, an ASGI application."""

    def __init__(
        self,
        events: Callable[[Exchange], Coroutine[Any, Any, None]],
        site: Callable[[Message, Receive, Send], Awaitable[None]],
    ) -> None:
        self.events = events
        self._site = site

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        """Serves a request of any other route."""
        return self._site(scope, receive, send)


class EdgeProtocol(HttpToolsProtocol):
    """httptools' protocol with bounds for heads, and a short way for the hot route."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = False
        self._head_bytes = 0
        self._since = self.loop.time()
        """When the connection began to wait for what it waits for now."""
        self._timer: asyncio.TimerHandle | None = None
        self._serving: Exchange | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._serving is not None:
            self._serving.hang_up()
        if isinstance(self.cycle, Exchange):
            self._set_cycle(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        """Ends a connection that waits for too long: one timer for each, and none for a request."""
        left = self._since + self._patience() - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(min(left, HEAD_TIMEOUT), self._look)

    def _patience(self) -> float:
        if self._in_head or self.cycle is None:
            return HEAD_TIMEOUT
        return self.timeout_keep_alive if self.cycle.response_complete else inf

    def data_received(self, data: bytes) -> None:
        """Parses a piece, after which a head may still be incomplete."""
        super().data_received(data)
        if self._in_head:
            if not self._head_bytes:
                self._since = self.loop.time()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """A request begins with this piece."""
        self._in_head = True
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        self._head_bytes = 0
        query = _query_of_hot(self.url)
        if query is None:
            self._begin_other()
            return
        parser = self.parser
        self._begin(
            Exchange(
                self,
                parser.get_method().decode("ascii"),
                query,
                self.headers,
                keep_alive=parser.get_http_version() != "1.0" and parser.should_keep_alive(),
            )
        )

    def _begin_other(self) -> None:
        """As uvicorn does it, but later: only now it is known that this is its own."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _begin(self, exchange: Exchange) -> None:
        before = self.cycle
        self._set_cycle(exchange)
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _set_cycle(self, exchange: Exchange | None) -> None:
        """uvicorn asks the latest cycle whether it is complete, and may tell it to be the last."""
        self.cycle = cast(RequestResponseCycle, exchange)

    def _start_asgi_task(self, cycle: RequestResponseCycle | Exchange, app: Any) -> None:
        if not isinstance(cycle, Exchange):
            super()._start_asgi_task(cycle, app)
            return
        self._serving = cycle
        task = self.loop.create_task(cast(App, app).events(cycle))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """A piece of the latest request's body."""
        cycle: object = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.feed(body)

    def on_message_complete(self) -> None:
        """The latest request is complete."""
        cycle: object = self.cycle
        if isinstance(cycle, Exchange):
            cycle.end()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request's turn, if there is one already."""
        self.server_state.total_requests += 1
        self._serving = None
        if self.transport.is_closing():
            return
        self._since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def pause_reading(self) -> None:
        """Takes nothing more from the client."""
        self.flow.pause_reading()

    def resume_reading(self) -> None:
        """Takes more again."""
        self.flow.resume_reading()

    def write(self, data: bytes) -> bool:
        """Writes at once; whether more has to wait until it is `drained`."""
        self.transport.write(data)
        return self.flow.write_paused

    async def drained(self) -> None:
        """Returns when the client takes more."""
        await self.flow.drain()

    def finished(self, *, keep_alive: bool) -> None:
        """An exchange is over."""
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()


def _query_of_hot(url: bytes) -> bytes | None:
    """The query of a target that is the hot route's, None for any other."""
    path, _, query = url.partition(b"?")
    if path == _PATH:
        return query
    parsed = httptools.parse_url(url)  # a proxy's absolute form, or one with escapes
    if unquote((parsed.path or b"").decode("ascii")) != PATH:
        return None
    return parsed.query or b""
