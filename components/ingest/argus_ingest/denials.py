"""Denials: remembers empty buckets, so that what they would refuse costs next to nothing.

A client over its limit is refused before its body is read, or a flood of one tenant would take the
time of the others. What is remembered is only until when a bucket has no whole token, so nothing is
turned away that the buckets would admit; and since a refused request spends nothing, they need not
be asked. Nothing is remembered for long: tokens may come back in ways that are not seen from here,
as when a Redis was wiped.
"""

from typing import Final, NamedTuple

from argus_ingest.buckets import KEY, Verdict
from argus_ingest.tenants import Access, Tenant

_LONGEST: Final = 1_000_000
"""Microseconds after which the buckets are asked again."""

Name = str | tuple[str, str]
"""A key's bucket; with an address where that address's bucket is empty too, or alone."""


class Denial(NamedTuple):
    """What the buckets said, and of whom."""

    tenant: Tenant
    """Another object of the same tenant has other limits."""
    verdict: Verdict
    asked: int
    """When they were asked, in microseconds of a steady clock."""


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
        """Takes a refusal; `asked` is no later than the buckets' own judgement."""
        if not verdict.empty:
            return
        if len(self._denials) >= self._most:
            self.forget()
        if verdict.refused == KEY:
            name: Name = access.bucket
            # Any address of this key is refused, and what others have left is not known.
            verdict = verdict._replace(address_left=None)
        else:
            name = (access.bucket, address)
        self._denials[name] = Denial(access.tenant, verdict, asked)

    def find(self, access: Access, address: str, now: int) -> Verdict | None:
        """The verdict on any request of this key from this address, None where only the buckets
        can tell."""
        if not self._denials:
            return None
        return self._recall(access.bucket, access.tenant, now) or self._recall(
            (access.bucket, address), access.tenant, now
        )

    def _recall(self, name: Name, tenant: Tenant, now: int) -> Verdict | None:
        denial = self._denials.get(name)
        if denial is None:
            return None
        left = denial.verdict.empty - (now - denial.asked)
        if denial.tenant is tenant and left > 0 and now - denial.asked < _LONGEST:
            return denial.verdict._replace(wait=left, empty=left)
        del self._denials[name]
        return None
