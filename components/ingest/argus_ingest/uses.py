"""When each API key was last used: remembered by the hot path, written down once in a while.

A request sets one number on its key's `Use`; all the rest is done here, so it costs a request
nothing and loses no request when Redis is away. A minute is as exact as it gets, and what a process
that is killed has not written down yet is lost.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Protocol

from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.times import SECOND

from argus_ingest import metrics
from argus_ingest.tenants import Directory, Use

logger = logging.getLogger(__name__)

MINUTE: Final = 60 * SECOND
Minutes = Mapping[TenantId, Mapping[KeyHash, int]]
"""Minutes since the epoch, by tenant and by key."""


class UsesAwayError(Exception):
    """It cannot be written down now."""


class SharedUses(Protocol):
    """Where all processes write down when keys were last used."""

    async def mark(self, minutes: Minutes) -> None:
        """Writes all of it, over what is there; raises UsesAwayError."""

    async def close(self) -> None:
        """Disconnects for good."""


class Uses:
    """Writes down what is new since the last time."""

    def __init__(self, directory: Directory, shared: SharedUses, interval: float) -> None:
        """Once in `interval` seconds."""
        self._directory = directory
        self._shared = shared
        self._interval = interval

    async def run(self) -> None:
        """Writes for ever; a supervised task."""
        while True:
            await asyncio.sleep(self._interval)
            await self.tell()

    async def tell(self) -> None:
        """Writes once; what cannot be written is tried again the next time."""
        minutes: defaultdict[TenantId, dict[KeyHash, int]] = defaultdict(dict)
        telling: list[tuple[Use, int]] = []
        for access in self._directory.accesses.values():
            use = access.use
            if use.last > use.told:
                telling.append((use, use.last))
                minutes[access.tenant.document.id][access.key.hash] = use.last // MINUTE
        if not telling:
            return
        try:
            await self._shared.mark(minutes)
        except UsesAwayError as error:
            metrics.USES_FAILURES.inc()
            logger.info("when keys were last used is not written down: %s", error)
            return
        for use, last in telling:
            use.told = last
