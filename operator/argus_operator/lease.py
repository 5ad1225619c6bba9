"""One operator leads, where two run by accident: the other waits until the first is gone.

A Lease in the API server says who leads. It is renewed every `renew` seconds, and may be taken once
nobody was seen to renew it for `duration` seconds of the taker's own clock: clocks of two machines
are never compared. Who leads asks before each look whether its lease is still good, which it is for
two thirds of that time after it was last renewed, so nobody else can lead meanwhile.

A leader that finds another in its place ends its process: what it remembers, of the registry above
all, is another's by now. While the API server is away nobody can take the lease, so that ends none.
Work in hand at that moment is no worse than a process that is killed: every write to an object
names the version it is for, every other may be made twice.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from argus_operator.errors import BusyError, OperatorError
from argus_operator.settings import LeaseSettings

logger = logging.getLogger(__name__)

_GOOD: Final = 2 / 3
"""Share of the duration for which a lease that was renewed is relied on."""


class LeaseLostError(Exception):
    """Another operator leads; this process must end, for what it remembers is no longer so."""


@dataclass(frozen=True, slots=True)
class Record:
    """The lease as it was read or written."""

    holder: str
    """Empty: nobody's."""
    version: str
    """The API server's; another with each renewal."""
    transitions: int
    """How often it went from one to another."""


class LeaseStore(Protocol):
    """Where the lease is; see adapters.leases."""

    async def get(self) -> Record | None: ...

    async def write(self, before: Record | None, holder: str, duration: float) -> Record: ...


class Leadership:
    """Takes the lease, keeps it and gives it back; without a store there is none, and all lead."""

    def __init__(
        self,
        store: LeaseStore | None,
        me: str,
        settings: LeaseSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`me` is this process's name, which no other has; `clock` gives seconds, never back."""
        self._store = store
        self._me = me
        self._settings = settings
        self._clock = clock
        self._record: Record | None = None
        self._seen: Record | None = None
        self._since = 0.0
        self._renewed: float | None = None
        self._told: str | None = None

    @property
    def leads(self) -> bool:
        """Whether the lease was taken."""
        return self._store is None or self._renewed is not None

    def check(self) -> None:
        """Raises BusyError where it cannot be ruled out that another leads by now."""
        if self._store is None:
            return
        good = self._settings.duration * _GOOD
        if self._renewed is None or self._clock() - self._renewed >= good:
            raise BusyError("NotLeading", f"the lease was not renewed for {good:.0f} s")

    async def take(self) -> None:
        """Returns once the lease is this process's; tries for as long as it takes."""
        leads = await self.try_once()
        while not leads:
            await asyncio.sleep(self._settings.retry)
            leads = await self.try_once()

    async def try_once(self) -> bool:
        """Takes the lease if it is free; whether this process leads now."""
        if self._store is None:
            return True
        started = self._clock()
        try:
            found = await self._store.get()
            if not self._is_free(found, started):
                self._tell(f"{found.holder if found else ''} leads")
                return False
            self._record = await self._store.write(found, self._me, self._settings.duration)
        except OperatorError as error:
            self._tell(error.message)
            return False
        self._renewed = started
        logger.info("leading", extra={"holder": self._me})
        return True

    def _is_free(self, found: Record | None, now: float) -> bool:
        """Whether it is nobody's, or its holder was not seen to renew it for long enough."""
        if found is None or found.holder in ("", self._me):
            return True
        if found != self._seen:
            self._seen, self._since = found, now
        return now - self._since >= self._settings.duration

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            logger.info("waiting for the lease", extra={"reason": reason})
        self._told = reason

    async def keep(self) -> None:
        """Renews the lease until cancelled; raises LeaseLostError once another has it."""
        while True:
            await asyncio.sleep(self._settings.renew)
            await self.renew_once()

    async def renew_once(self) -> None:
        """One renewal; one that fails is logged. Raises LeaseLostError where another leads."""
        if self._store is None:
            return
        try:
            await self._renew(self._store)
        except OperatorError as error:
            logger.warning("the lease was not renewed", extra={"reason": error.message})

    async def _renew(self, store: LeaseStore) -> None:
        started = self._clock()
        try:
            self._record = await store.write(self._record, self._me, self._settings.duration)
        except BusyError:
            self._record = self._own(await store.get())
        else:
            self._renewed = started

    def _own(self, found: Record | None) -> Record | None:
        """The lease as somebody changed it, who did not take it; renewed the next time."""
        if found is not None and found.holder not in ("", self._me):
            self._renewed = None
            raise LeaseLostError(f"{found.holder} leads")
        return found

    async def release(self) -> None:
        """Gives the lease back, so that a successor need not wait; not being able to is fine."""
        if self._store is None or self._renewed is None:
            return
        self._renewed = None
        try:
            await self._store.write(self._record, "", self._settings.duration)
        except OperatorError as error:
            logger.warning("the lease was not given back", extra={"reason": error.message})
