"""Which families a round of the resync has to look at: at rest, none.

A round sees everything in a few calls, however many tenants there are. Of a family that the last
look found in order, and of which nothing that a round sees has changed since, nothing is asked.
What a round does not see (grants, columns, a Secret between two patrols) waits for the full pass,
in which every family is looked at, spread over its interval.

What must never happen is that a family is skipped which is not in order. So only a look that was
begun after what was seen, and that neither wrote nor met an error, vouches for it; what could not
be read, or is absent, is equal to nothing.
"""

import math
import time
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from argus_contract.names import TopicName

from argus_operator import metrics
from argus_operator.documents import Documents
from argus_operator.models.common import Raw
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.usage import UsageBook
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family, Pipeline, family_of_pipeline, family_of_tenant
from argus_operator.settings import Tiers
from argus_operator.topics import TopicState

Clock = Callable[[], float]
State = tuple[object, ...]
"""What was seen; only ever compared."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that one round saw; None where a dependency did not answer."""

    at: float
    """When it began to look, by the sweep's clock."""
    tenants: Sequence[Raw]
    pipelines: Sequence[Raw]
    documents: Documents
    topics: Mapping[TopicName, TopicState] | None
    sightings: Mapping[str, str | None] | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a round saw of a family, for the next look to vouch for."""

    at: float
    state: State | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a family is known to be in order with, until when that is to be asked again."""

    state: State | None
    until: float


class Sweep:
    """Passes looks on, and remembers which of them vouch for what."""

    def __init__(
        self,
        reconcile: Callable[[Family], Awaitable[Verdict]],
        health: Health,
        tiers: Callable[[], Tiers],
        usage: UsageBook,
        full: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """`full`: seconds in which every family is looked at once whatever was seen."""
        self._reconcile = reconcile
        self._health = health
        self._tiers = tiers
        self._usage = usage
        self._full = full
        self._clock = clock
        self._offers: dict[Family, Offer] = {}
        self._proofs: dict[Family, Proof] = {}
        self._unsettled: dict[Family, float] = {}

    def now(self) -> float:
        """The sweep's clock, in seconds."""
        return self._clock()

    async def reconcile(self, family: Family) -> Verdict:
        """Reconciles a family; a quiet look vouches for what the last round saw before it."""
        offer = self._offers.pop(family, None)
        self._proofs.pop(family, None)
        verdict = Verdict(failed=True)
        try:
            verdict = await self._reconcile(family)
        finally:
            if not verdict.quiet:
                self._unsettled[family] = self._clock()
        if offer is not None and verdict.quiet:
            self._vouch(family, offer, verdict.again_in)
        return verdict

    def _vouch(self, family: Family, offer: Offer, again_in: float | None) -> None:
        if self._unsettled.get(family, -math.inf) >= offer.at:
            return  # an earlier look wrote something after that was seen
        now = self._clock()
        place = zlib.crc32(str(family).encode()) / 2**32 * self._full
        full = (place - now) % self._full or self._full
        until = now + (full if again_in is None else min(full, again_in))
        self._proofs[family] = Proof(offer.state, until)

    def due(self, seen: Seen) -> list[Family]:
        """The families to look at, in order, given what a round saw."""
        states = self._states(seen)
        for held in (self._offers, self._proofs, self._unsettled):
            for family in held.keys() - states.keys():
                held.pop(family)
        woken = [family for family in sorted(states, key=str) if self._asks(family, states[family])]
        for family in woken:
            self._offers[family] = Offer(seen.at, states[family])
        metrics.SWEPT.labels("woken").inc(len(woken))
        metrics.SWEPT.labels("skipped").inc(len(states) - len(woken))
        return woken

    def _asks(self, family: Family, state: State | None) -> bool:
        proof = self._proofs.get(family)
        return (
            proof is None or state is None or proof.state != state or self._clock() >= proof.until
        )

    def _states(self, seen: Seen) -> dict[Family, State | None]:
        """What was seen of each family; None where that is not all that there should be."""
        parts: defaultdict[Family, list[object]] = defaultdict(list)
        for tenant in seen.tenants:
            parts[family_of_tenant(tenant)].append(self._of_tenant(tenant, seen))
        for pipeline in seen.pipelines:
            parts[family_of_pipeline(pipeline)].append(_of_pipeline(pipeline, seen, self._health))
        for document in seen.documents.values():
            family = Family(document.namespace, document.name)
            parts[family].append((document.id, document.revision))
        return {family: None if None in found else tuple(found) for family, found in parts.items()}

    def _of_tenant(self, raw: Raw, seen: Seen) -> State | None:
        """A tier that nobody defines, and use that Redis has not told yet, are as good as any."""
        id_ = (raw.get("status") or {}).get("id", "")
        sighting = (seen.sightings or {}).get(id_)
        if sighting is None or seen.topics is None or "deletionTimestamp" in raw["metadata"]:
            return None
        document = seen.documents.get(id_)
        use = None if document is None else self._usage.of(id_, document.limits)
        tier = self._tiers().get((raw.get("spec") or {}).get("tier", ""))
        return (*_version(raw), sighting, (tier, use))


def _of_pipeline(raw: Raw, seen: Seen, health: Health) -> State | None:
    status, topics = raw.get("status") or {}, seen.topics or {}
    found = (
        (seen.sightings or {}).get(raw["metadata"]["uid"]),
        topics.get(status.get("topic", "")),
        topics.get(status.get("deadLetterTopic", "")),
        health.known(Pipeline.parse(raw)),
    )
    if None in found or "deletionTimestamp" in raw["metadata"]:
        return None
    return (*_version(raw), *found)


def _version(raw: Raw) -> State:
    return (raw["metadata"]["uid"], raw["metadata"]["resourceVersion"])
