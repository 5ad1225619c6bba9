"""The ASGI application: the hot route in front, the framework for everything else."""

from collections.abc import Awaitable, Callable

from argus_ingest.answer import Send
from argus_ingest.endpoint import PATH, Scope
from argus_ingest.read import Receive

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class App:
    """Dispatches by path, before any framework has looked at the request."""

    def __init__(self, events: AsgiApp, site: AsgiApp) -> None:
        self._events = events
        self._site = site

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serves one request."""
        is_hot = scope["type"] == "http" and scope["path"] == PATH
        return (self._events if is_hot else self._site)(scope, receive, send)
