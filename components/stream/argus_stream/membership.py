"""Who streams: a heartbeat in SQL, and which partitions follow from the members that live.

Two owners of a partition for a moment are harmless, because the fence in SQL rolls one of them
back; so nothing here is agreed upon, locked or waited for (ADR 0003).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID, uuid4

from argus_contract.names import TenantId
from argus_contract.registry import TenantDocument

from argus_stream import metrics
from argus_stream.assignment import owner
from argus_stream.errors import StoreError
from argus_stream.health import Watch
from argus_stream.ports import Ledger
from argus_stream.sources import Route, Source

logger = logging.getLogger(__name__)

LOOP: Final = "membership"
Owned = Callable[[Mapping[Source, Route]], None]


class Membership:
    """Keeps this process a member, and tells which partitions are its own."""

    def __init__(
        self, ledger: Ledger, owned: Owned, watch: Watch, *, interval: float, ttl: float
    ) -> None:
        """`owned` is called with all partitions of ours whenever they may have changed."""
        self.member = uuid4()
        self._ledger = ledger
        self._owned = owned
        self._watch = watch
        self._interval = interval
        self._ttl = ttl
        self._members: frozenset[UUID] = frozenset()
        self._routes: dict[Source, Route] = {}

    @property
    def joined(self) -> bool:
        """Whether the database has ever counted us in."""
        return bool(self._members)

    def learn(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        """Takes a registry: every pipeline of it is somebody's."""
        self._routes = routes(documents)
        self._share_out()

    async def run(self) -> None:
        """Beats for ever. Without the database the members that we know stay as they are."""
        heard = 0.0
        silent = False
        while True:
            self._watch.step(LOOP)
            try:
                members = await self._ledger.heartbeat(self.member, self._ttl)
            except StoreError as error:
                if not silent:
                    logger.warning("no heartbeat", extra={"reason": str(error)})
                silent = True
            else:
                silent = False
                now = time.monotonic()
                if not self._members or now - heard < self._ttl:
                    self._know(members)
                heard = now
            await asyncio.sleep(self._interval)

    def _know(self, members: frozenset[UUID]) -> None:
        """After a silence the first answer is not trusted: others were silent too, and live."""
        if members == self._members:
            return
        logger.info("members changed", extra={"members": len(members)})
        metrics.MEMBERS.set(len(members))
        self._members = members
        self._share_out()

    def _share_out(self) -> None:
        if self._members:
            self._owned(
                {
                    source: route
                    for source, route in self._routes.items()
                    if owner(source, self._members) == self.member
                }
            )

    async def leave(self) -> None:
        """Gives everything away at once, rather than when our heartbeat has grown old."""
        try:
            await self._ledger.leave(self.member)
        except StoreError as error:
            logger.warning("could not leave", extra={"reason": str(error)})


def routes(documents: Mapping[TenantId, TenantDocument]) -> dict[Source, Route]:
    """Every partition of every pipeline; those of a suspended tenant too, to store the rest."""
    return {
        Source(pipeline.topic, number): Route(document, pipeline)
        for document in documents.values()
        for pipeline in document.pipelines
        for number in range(pipeline.partitions)
    }
