"""Token buckets in memory: the arithmetic of `lua/token_bucket.lua` and a bounded store for it.

A bucket is kept as its debt, so a bucket that is not kept is a full one. Times are microseconds of
one clock, debts millionths of a token; whole rates and costs are never rounded.
"""

from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Final, NamedTuple

from argus_contract.registry import Bucket

UNIT: Final = 1_000_000
"""Units of one token; also microseconds of one second, so rates need no conversion."""
NEVER: Final = 10**12
"""Microseconds that stand for an infinite wait."""

NOBODY: Final = 0
ADDRESS: Final = 1
"""Bit of a verdict: the address's bucket had too few tokens."""
KEY: Final = 2
"""Bit of a verdict: the API key's bucket had too few tokens."""
DAY: Final = 4
"""Bit of a verdict: too few events are left of the tenant's day; then no bucket was asked."""
MONTH: Final = 8
"""The same of its month."""


class Quota(NamedTuple):
    """A tenant's quota: the Redis key of its usage, events a day and a month, 0 for no limit."""

    usage: str
    daily: int
    monthly: int


class Check(NamedTuple):
    """What one request wants: `cost` tokens of its key, one of its address if that has a bucket,
    and `cost` events of its tenant's quota if that has one.

    The buckets' names are Redis keys; `tenant` says which names share a hash slot.
    """

    tenant: str
    address_bucket: str | None
    address_limit: Bucket
    key_bucket: str
    key_limit: Bucket
    cost: int
    quota: Quota | None = None


class Verdict(NamedTuple):
    """What became of a check; times in microseconds."""

    refused: int
    wait: int
    """Until it could pass, if nobody else spent."""
    empty: int
    """Until a check of one token could pass; 0 where one could now."""
    address_left: int | None
    """Whole tokens of the address; None where that is not known."""
    key_left: int
    """Whole tokens of the key; where a quota refused, the events left of that."""


@dataclass(slots=True)
class Debt:
    """Units owed at a moment."""

    owed: float = 0.0
    as_of: int = 0

    def at(self, now: int, rate: float) -> float:
        """Units owed at `now`, at `rate` tokens a second."""
        return max(0.0, self.owed - rate * max(0, now - self.as_of))


def shortage(owed: float, cost: float, limit: Bucket) -> float:
    """By how many units a bucket falls short of `cost` tokens; 0 or less is enough."""
    return owed + cost * UNIT - limit.burst * UNIT


def wait_for(short: float, limit: Bucket) -> int:
    """Microseconds until a shortage is gone."""
    if short <= 0:
        return 0
    return ceil(min(short / limit.rate if limit.rate else inf, NEVER))


def left(owed: float, limit: Bucket) -> int:
    """Whole tokens in a bucket that owes so much."""
    return max(0, floor((limit.burst * UNIT - owed) / UNIT))


class BucketStore:
    """Debts by name, in bounded memory.

    Two generations: a full young one becomes the old one and the old one is forgotten. What is
    forgotten is what was idle longest; had it a debt left, that is forgiven, and this is the price
    of the bound.
    """

    def __init__(self, size: int) -> None:
        """Keeps at most twice `size` buckets."""
        self._size = size
        self._young: dict[str, Debt] = {}
        self._old: dict[str, Debt] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, name: str) -> Debt:
        """The debt of this name, to be changed in place."""
        found = self._young.get(name)
        if found is not None:
            return found
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        found = self._young[name] = self._old.pop(name, Debt())
        return found


class _Account:
    """A bucket during one judgement."""

    __slots__ = ("_debt", "_limit", "_owed")

    def __init__(self, debt: Debt, limit: Bucket, share: float, now: int) -> None:
        self._debt = debt
        self._limit = Bucket(limit.rate * share, limit.burst * share)
        self._owed = debt.at(now, self._limit.rate)

    @property
    def left(self) -> int:
        return left(self._owed, self._limit)

    def wait(self, cost: int) -> int:
        if self._owed == 0:
            return 0
        return wait_for(
            shortage(self._owed, min(cost, self._limit.burst), self._limit), self._limit
        )

    def spend(self, cost: int, now: int) -> None:
        self._owed += cost * UNIT
        self._debt.owed, self._debt.as_of = self._owed, now


class LocalBuckets:
    """Judges checks as the script does, each process with its share of the limits.

    Quotas are not judged: no process knows what the others have let pass. In one more point it is
    milder: a full bucket admits any cost that the whole limit admits and then owes for it, because
    a share of a burst may be smaller than a batch that is allowed.
    """

    def __init__(self, size: int, share: float) -> None:
        """`share` of each limit is this process's: one over the number of replicas."""
        self._store = BucketStore(size)
        self._share = share

    def judge(self, check: Check, now: int) -> Verdict:
        """Spends from both buckets or from none."""
        key = _Account(self._store.get(check.key_bucket), check.key_limit, self._share, now)
        if check.cost > check.key_limit.burst:
            return Verdict(KEY, NEVER, 0, None, key.left)
        key_wait = key.wait(check.cost)
        if check.address_bucket is None:
            if not key_wait:
                key.spend(check.cost, now)
                return Verdict(NOBODY, 0, 0, 0, key.left)
            return Verdict(KEY, key_wait, key.wait(1), 0, key.left)
        debt = self._store.get(check.address_bucket)
        address = _Account(debt, check.address_limit, self._share, now)
        address_wait = address.wait(1)
        refused = (ADDRESS if address_wait else NOBODY) + (KEY if key_wait else NOBODY)
        if not refused:
            key.spend(check.cost, now)
            address.spend(1, now)
            return Verdict(NOBODY, 0, 0, address.left, key.left)
        empty = max(address_wait, key.wait(1))
        return Verdict(refused, max(address_wait, key_wait), empty, address.left, key.left)
