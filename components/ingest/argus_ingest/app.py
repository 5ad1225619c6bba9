"""What the server serves: the hot route by itself, and the site, an ASGI application."""

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final

from argus_ingest.exchange import Exchange

PATH: Final = "/v1/events"
"""The hot route."""

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class App:
    """`protocol.EdgeProtocol` takes the hot route from here before ASGI begins."""

    def __init__(
        self, events: Callable[[Exchange], Coroutine[Any, Any, None]], site: AsgiApp
    ) -> None:
        self.events = events
        self._site = site

    def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> Awaitable[None]:
        """Serves a request of any other route."""
        return self._site(scope, receive, send)
