"""kopf: the watch on both kinds, and nothing else of it.

Its event handlers only wake families. What kopf would keep in annotations (progress, last handled
configuration) and its finalizer are for edge-triggered handlers, of which there are none; ours is
`argus.dev/cleanup`, set before anything is made (docs/adr/0006).
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import kopf

from argus_operator.models import pipeline, tenant
from argus_operator.models.common import GROUP, PAUSED, VERSION, Raw
from argus_operator.resources import Family, family_of_pipeline, family_of_tenant

logger = logging.getLogger(__name__)

SERVER_TIMEOUT_S: Final = 300
CLIENT_TIMEOUT_S: Final = 310
_STOP_TIMEOUT_S: Final = 15.0

Connect = Callable[[], kopf.ConnectionInfo]
Wake = Callable[[Family], None]


class WatchEndedError(Exception):
    """The watch is over although nobody stopped it: the process must begin anew."""


class Changes:
    """Tells what concerns the operator from the echo of its own status writes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, ...]] = {}

    def concern(self, type_: str | None, raw: Raw) -> bool:
        """Whether this watch event is one to look at the family for."""
        meta = raw["metadata"]
        if type_ == "DELETED":
            self._seen.pop(meta["uid"], None)
            return True
        state = (
            meta.get("generation"),
            meta.get("deletionTimestamp"),
            (meta.get("annotations") or {}).get(PAUSED),
        )
        known = self._seen.get(meta["uid"])
        self._seen[meta["uid"]] = state
        return known != state


def registry(connect: Connect, wake: Wake) -> kopf.OperatorRegistry:
    """kopf's handlers, which wake the family that an event concerns."""
    handlers = kopf.OperatorRegistry()
    changes = Changes()

    @kopf.on.login(registry=handlers)
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return connect()

    @kopf.on.event(GROUP, VERSION, tenant.PLURAL, registry=handlers)
    async def on_tenant(event: kopf.RawEvent, **_: Any) -> None:
        _pass_on(event, changes, family_of_tenant, wake)

    @kopf.on.event(GROUP, VERSION, pipeline.PLURAL, registry=handlers)
    async def on_pipeline(event: kopf.RawEvent, **_: Any) -> None:
        _pass_on(event, changes, family_of_pipeline, wake)

    return handlers


def _pass_on(
    event: kopf.RawEvent, changes: Changes, family_of: Callable[[Raw], Family], wake: Wake
) -> None:
    raw: Raw = event["object"]
    if changes.concern(event["type"], raw):
        wake(family_of(raw))


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


async def watch(connect: Connect, wake: Wake, ready: threading.Event) -> None:
    """Watches until cancelled, and sets `ready` at its beginning; raises where it ends by itself.

    kopf takes every task of its loop that is younger than itself for its own, and cancels it at the
    end; so it has a loop in a thread of its own, and wakes families across.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def pass_on(family: Family) -> None:
        loop.call_soon_threadsafe(wake, family)

    def run() -> None:
        operator = kopf.operator(
            registry=registry(connect, pass_on),
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
