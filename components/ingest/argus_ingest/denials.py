"""Denials: remembers empty buckets and spent quotas; what they would refuse costs next to nothing.

A client over its limit is refused before its body is read, or a flood of one tenant would take the
time of the others. From a refusal it is known when a bucket has its next token, and how fast others
follow; each request takes one at least. So no more requests are let through to the buckets than
there can be tokens, and nothing is turned away that the buckets would admit once those before it
have been judged. A refused request spends nothing, so the buckets need not hear of it.

Nothing is remembered for long: tokens may come back in ways that are not seen from here, as when a
Redis was wiped.
"""

from math import inf
from typing import Final

from argus_ingest.buckets import ADDRESS, DAY, KEY, MONTH, UNIT, Verdict
from argus_ingest.tenants import Access, Tenant

_LONGEST: Final = 1_000_000
"""Microseconds after which the buckets are asked again."""

Name = str | tuple[str, str]
"""A key's bucket; with an address where that address's bucket is empty too, or alone."""


class Denial:
    """An empty bucket, and how many requests were let through to it since."""

    __slots__ = ("_asked", "_rate", "_verdict", "passed", "tenant")

    def __init__(self, tenant: Tenant, verdict: Verdict, asked: int) -> None:
        limits = tenant.document.limits
        rates = {
            KEY: limits.per_key.rate,
            ADDRESS: limits.per_ip.rate,
            # Whichever of them is empty for longer: both may have tokens no sooner than that.
            KEY | ADDRESS: max(limits.per_key.rate, limits.per_ip.rate),
        }
        self.tenant = tenant
        """As it was then: another object of the same tenant may have other limits."""
        self.passed = 0
        self._verdict = verdict
        self._asked = asked
        # Of a quota nothing comes back before its end.
        self._rate = rates.get(verdict.refused, inf)

    def holds(self, tenant: Tenant, now: int) -> bool:
        """Whether it says anything of this tenant now."""
        return self.tenant is tenant and now - self._asked < _LONGEST

    def refuse(self, now: int) -> Verdict | None:
        """The verdict where no token can be left of those that came since, else None."""
        taken = self.passed * UNIT / self._rate if self.passed else 0
        wait = self._verdict.empty + taken - (now - self._asked)
        if wait <= 0:
            return None
        return self._verdict._replace(wait=round(wait), empty=round(wait))


class Denials:
    """The empty buckets that this process has just met; bounded."""

    def __init__(self, most: int) -> None:
        """Forgets all once it remembers `most`."""
        self._most = most
        self._denials: dict[Name, Denial] = {}

    def __len__(self) -> int:
        return len(self._denials)

    def forget(self) -> None:
        """Forgets all: other buckets judge from now on."""
        self._denials.clear()

    def note(self, access: Access, address: str, verdict: Verdict, asked: int) -> None:
        """Takes a refusal; `asked`, in microseconds of a steady clock, is no later than the
        buckets' judgement."""
        by_key, by_both = access.bucket, (access.bucket, address)
        # It was let through, if by anything, for tokens that it did not take.
        self._denials.pop(by_key, None)
        self._denials.pop(by_both, None)
        if not verdict.empty:
            return
        if len(self._denials) >= self._most:
            self.forget()
        if verdict.refused == DAY | MONTH and verdict.empty < verdict.wait:
            # Nothing is left of the day, but something is of the month: that refuses no single one.
            verdict = verdict._replace(refused=DAY, wait=verdict.empty, key_left=0)
        if verdict.refused == KEY or verdict.refused >= DAY:
            # Any address of this key is refused, and what others have left is not known.
            denial = Denial(access.tenant, verdict._replace(address_left=None), asked)
            self._denials[by_key] = denial
        else:
            self._denials[by_both] = Denial(access.tenant, verdict, asked)

    def find(self, access: Access, address: str, now: int) -> Verdict | None:
        """The verdict on any request of this key from this address, None where it is for the
        buckets to tell."""
        if not self._denials:
            return None
        found = []
        for name in (access.bucket, (access.bucket, address)):
            denial = self._denials.get(name)
            if denial is None:
                continue
            if not denial.holds(access.tenant, now):
                del self._denials[name]
                continue
            verdict = denial.refuse(now)
            if verdict is not None:
                return verdict
            found.append(denial)
        for denial in found:
            denial.passed += 1
        return None
