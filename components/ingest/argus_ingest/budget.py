"""Bytes in flight: how much of its memory the process lends to requests that are not answered.

No tenant can have all of it. A tenant may hold as much as it leaves free, times a factor, so what
one may hold shrinks as others come, and there is always room for one more (dynamic thresholds,
Choudhury and Hahne 1998, as switches share their buffers among queues).
"""

from typing import Final

from argus_contract.sizes import KIB

from argus_ingest.errors import BusyError

REQUEST: Final = 16 * KIB
"""Bytes that a request counts beside its body: head, task, connection. As with bodies, of which
there are copies on their way, the process's memory grows by some three times what is counted."""
RECORD: Final = 100
"""Bytes of a record beside its value, roughly: key, headers, framing; in memory as in the log."""
_RETRY_AFTER: Final = 1.0


class Account:
    """What one tenant holds."""

    __slots__ = ("held", "requests")

    def __init__(self) -> None:
        self.held = 0
        """Bytes."""
        self.requests = 0
        """Requests in work."""


class Budget:
    """Counts bytes up to a limit; what is taken must be given back."""

    def __init__(self, limit: int, tenant_share: float) -> None:
        """`tenant_share` of the limit is what one tenant may hold while no other holds anything;
        with 1/2, n tenants that want all may hold 1/(n + 1) each."""
        self._limit = limit
        self._held_per_free = tenant_share / (1 - tenant_share)
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self._limit - self.used

    def take(self, account: Account, size: int) -> None:
        """Raises BusyError, and takes nothing, where the tenant would hold too much."""
        held = account.held + size
        used = self.used + size
        if held > self._held_per_free * (self._limit - used):
            raise BusyError(
                f"{account.held} bytes of this tenant are in flight in this process, which has "
                f"room for {self.free} more of all tenants; try again.",
                retry_after=_RETRY_AFTER,
            )
        account.held = held
        self.used = used

    def give(self, account: Account, size: int) -> None:
        """Returns what was taken."""
        account.held -= size
        self.used -= size
