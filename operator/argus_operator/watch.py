"""kopf: the watch on our kinds, and nothing else of it.

Its event handlers only wake what an event concerns: a family, or a replay. What kopf would keep in
annotations (progress, last handled configuration) and its finalizer are for edge-triggered
handlers, of which there are none; ours is `argus.dev/cleanup`, set before anything is made
(docs/adr/0006).
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import kopf

from argus_operator.models.common import GROUP, VERSION, Raw

logger = logging.getLogger(__name__)

SERVER_TIMEOUT_S: Final = 300
CLIENT_TIMEOUT_S: Final = 310
_STOP_TIMEOUT_S: Final = 15.0
_OURS: Final = f"{GROUP}/"

Connect = Callable[[], kopf.ConnectionInfo]
Wakes = Mapping[str, Callable[[Raw], None]]
"""By plural of a kind: what an event on an object of it is passed to."""


class WatchEndedError(Exception):
    """The watch is over although nobody stopped it: the process must begin anew."""


class Changes:
    """Tells what concerns the operator from the echo of its own status writes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, ...]] = {}

    def concern(self, type_: str | None, raw: Raw) -> bool:
        """Whether this watch event is one to look again for."""
        meta = raw["metadata"]
        if type_ == "DELETED":
            self._seen.pop(meta["uid"], None)
            return True
        state = (
            meta.get("generation"),
            meta.get("deletionTimestamp"),
            _asked(meta.get("annotations") or {}),
        )
        known = self._seen.get(meta["uid"])
        self._seen[meta["uid"]] = state
        return known != state


def _asked(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What people ask of the operator by annotation: all of its own domain."""
    return tuple(sorted(item for item in annotations.items() if item[0].startswith(_OURS)))


def registry(connect: Connect, wakes: Wakes) -> kopf.OperatorRegistry:
    """kopf's handlers, one for each kind, which pass on the events that concern us."""
    handlers = kopf.OperatorRegistry()
    changes = Changes()

    @kopf.on.login(registry=handlers)
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return connect()

    for plural, wake in wakes.items():
        handler = _handler(changes, wake)
        kopf.on.event(GROUP, VERSION, plural, registry=handlers, id=plural)(handler)
    return handlers


def _handler(changes: Changes, wake: Callable[[Raw], None]) -> Callable[..., Awaitable[None]]:
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        raw: Raw = event["object"]
        if changes.concern(event["type"], raw):
            wake(raw)

    return on_event


def settings() -> kopf.OperatorSettings:
    """One replica, no peering, no discovery of kinds, streams that end before they go silent."""
    made = kopf.OperatorSettings()
    made.peering.standalone = True
    made.scanning.disabled = True
    made.posting.enabled = False
    made.watching.server_timeout = SERVER_TIMEOUT_S
    made.watching.client_timeout = CLIENT_TIMEOUT_S
    made.networking.connect_timeout = 10
    made.networking.request_timeout = 30
    return made


async def watch(connect: Connect, wakes: Wakes, ready: threading.Event) -> None:
    """Watches until cancelled, and sets `ready` at its beginning; raises where it ends by itself.

    kopf takes every task of its loop that is younger than itself for its own, and cancels it at the
    end; so it has a loop in a thread of its own, and wakes across.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def across(wake: Callable[[Raw], None]) -> Callable[[Raw], None]:
        def pass_on(raw: Raw) -> None:
            loop.call_soon_threadsafe(wake, raw)

        return pass_on

    passed_on = {plural: across(wake) for plural, wake in wakes.items()}

    def run() -> None:
        operator = kopf.operator(
            registry=registry(connect, passed_on),
            settings=settings(),
            clusterwide=True,
            ready_flag=ready,
            stop_flag=stop,
        )
        asyncio.run(operator)

    watching = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        await asyncio.shield(watching)
    finally:
        stop.set()
        await asyncio.wait({watching}, timeout=_STOP_TIMEOUT_S)
    raise WatchEndedError("kopf has stopped watching")
