"""kopf: the watch on our kinds, and nothing else of it.

Its event handlers only wake what an event concerns: a family, or a replay. What kopf would keep in
annotations (progress, last handled configuration) and its finalizer are for edge-triggered
handlers, of which there are none; ours is `argus.dev/cleanup`, set before anything is made
(docs/adr/0006).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import kopf

from argus_operator import metrics
from argus_operator.models.common import GROUP, VERSION, Raw

logger = logging.getLogger(__name__)

SERVER_TIMEOUT_S: Final = 300
CLIENT_TIMEOUT_S: Final = 310
_STOP_TIMEOUT_S: Final = 15.0
_OURS: Final = f"{GROUP}/"

Connect = Callable[[], kopf.ConnectionInfo]
Note = Callable[[str, str | None, Raw], None]
"""Is told of every event: plural, type (None where it was there at the start), object."""
Wakes = Mapping[str, Callable[[Raw], None]]
"""By plural of a kind: what an event on an object of it is passed to."""


class WatchEndedError(Exception):
    """The watch is over although nobody stopped it: the process must begin anew."""


class Sightings:
    """Holds what the watch tells against what lists show.

    A stream may stand and say nothing, a handler may be dead, and of a kind that was not served
    when it started kopf never begins a watch. A list that shows an object in another version than
    the watch told finds that out, unless the watch tells of the object soon.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`patience`: seconds for which the watch may be behind."""
        self._patience = patience
        self._clock = clock
        self._told: dict[str, dict[str, str]] = {}
        self._news: set[str] = set()
        self._missed: dict[str, dict[str, float]] = {}
        self._behind: dict[str, float] = {}

    def note(self, plural: str, type_: str | None, raw: Raw) -> None:
        """What the watch tells of an object."""
        uid = raw["metadata"]["uid"]
        told = self._told.setdefault(plural, {})
        self._missed.get(plural, {}).pop(uid, None)
        if type_ == "DELETED":
            told.pop(uid, None)
            self._news.discard(uid)
        else:
            self._news.add(uid)
            told[uid] = raw["metadata"]["resourceVersion"]

    def compare(self, plural: str, listed: Iterable[Raw]) -> None:
        """What a list of all objects of a kind shows."""
        now, before = self._clock(), self._missed.get(plural, {})
        shown = {raw["metadata"]["uid"]: raw["metadata"]["resourceVersion"] for raw in listed}
        told = self._told.get(plural, {})
        self._told[plural] = {u: told[u] for u in told if u in shown or u in self._news}
        self._news -= told.keys()
        missed = {u: before.get(u, now) for u in shown if told.get(u) != shown[u]}
        self._missed[plural] = missed
        self._behind[plural] = now - min(missed.values(), default=now)

    def stalled(self) -> str | None:
        """Why this process is no longer alive; None if it is."""
        behind = max(self._behind.values(), default=0.0)
        metrics.WATCH_BEHIND.set(behind)
        late = [plural for plural, age in self._behind.items() if age > self._patience]
        if not late:
            return None
        return f"the watch on {', '.join(sorted(late))} is behind, for {behind:.0f} s"


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


def registry(connect: Connect, wakes: Wakes, note: Note) -> kopf.OperatorRegistry:
    """kopf's handlers, one for each kind: all events are noted, those that concern us wake."""
    handlers = kopf.OperatorRegistry()
    changes = Changes()

    @kopf.on.login(registry=handlers)
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return connect()

    for plural, wake in wakes.items():
        handler = _handler(changes, wake, partial(note, plural))
        kopf.on.event(GROUP, VERSION, plural, registry=handlers, id=plural)(handler)
    return handlers


def _handler(
    changes: Changes,
    wake: Callable[[Raw], None],
    note: Callable[[str | None, Raw], None],
) -> Callable[..., Awaitable[None]]:
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        raw: Raw = event["object"]
        note(event["type"], raw)
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


async def watch(connect: Connect, wakes: Wakes, note: Note, ready: threading.Event) -> None:
    """Watches until cancelled, and sets `ready` at its beginning; raises where it ends by itself.

    kopf takes every task of its loop that is younger than itself for its own, and cancels it at the
    end; so it has a loop in a thread of its own, and wakes and notes across.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def across(wake: Callable[[Raw], None]) -> Callable[[Raw], None]:
        def pass_on(raw: Raw) -> None:
            loop.call_soon_threadsafe(wake, raw)

        return pass_on

    def noted(plural: str, type_: str | None, raw: Raw) -> None:
        loop.call_soon_threadsafe(note, plural, type_, raw)

    passed_on = {plural: across(wake) for plural, wake in wakes.items()}

    def run() -> None:
        operator = kopf.operator(
            registry=registry(connect, passed_on, noted),
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
