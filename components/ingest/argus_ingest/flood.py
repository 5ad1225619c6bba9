"""The flood guard: what one address may cost this process before anything of it is read.

It is generous, local and never asks anybody: its only work is that a flood, or a guesser of keys,
is turned away for less than a microsecond each. The tenants' limits are `limit`'s business.
"""

from argus_contract.registry import Bucket

from argus_ingest import metrics
from argus_ingest.buckets import UNIT, BucketStore, wait_for
from argus_ingest.errors import FloodedError


class FloodGuard:
    """A token bucket per client address, in bounded memory."""

    def __init__(self, limit: Bucket, unauthorized_cost: float, addresses: int) -> None:
        """`addresses` is how many are remembered in each of two generations."""
        self._limit = limit
        self._most = (limit.burst - 1) * UNIT
        self._unauthorized = unauthorized_cost * UNIT
        self._store = BucketStore(addresses)

    def admit(self, address: str, now: int) -> None:
        """Takes one token; raises FloodedError where there is none. `now` in microseconds."""
        debt = self._store.get(address)
        owed = debt.at(now, self._limit.rate)
        if owed > self._most:
            metrics.FLOODED.inc()
            raise FloodedError(
                "This address sends more requests, or more unknown keys, than one address may.",
                retry_after=wait_for(owed - self._most, self._limit) / UNIT,
            )
        debt.owed, debt.as_of = owed + UNIT, now

    def punish(self, address: str, now: int) -> None:
        """Takes what a 401 costs; the bucket may owe more than it holds, but for no longer than
        one burst takes to refill."""
        debt = self._store.get(address)
        owed = debt.at(now, self._limit.rate) + self._unauthorized
        debt.owed, debt.as_of = min(owed, 2 * self._limit.burst * UNIT), now
