"""Bytes in flight: how much of its memory the process lends to requests that are not answered."""

from argus_ingest.errors import BusyError

_RETRY_AFTER = 1.0


class Budget:
    """Counts bytes up to a limit; what is taken must be given back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Raises BusyError, and takes nothing, where it would exceed the limit."""
        if self.used + size > self._limit:
            raise BusyError(
                "More bytes are in flight than this process may hold; try again.",
                retry_after=_RETRY_AFTER,
            )
        self.used += size

    def give(self, size: int) -> None:
        """Returns what was taken."""
        self.used -= size
