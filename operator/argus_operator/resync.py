"""The periodic look at everything: drift repaired, lost wakes made good, old rows expired.

One task for all tenants rather than a timer for each: a failed round is only a late one. A round
reads everything in a few calls, and wakes only whom that concerns (reconcile.sweep). It also is the
watchdog: a process in which no round ends any more is not alive.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from argus_contract import names
from argus_contract.names import TenantId, TopicName
from argus_runtime import logs

from argus_operator import metrics
from argus_operator.conditions import READY
from argus_operator.errors import OperatorError
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import KIND as PIPELINE
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import KIND as TENANT
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.ports import Cluster, Registry, Schemas, Topics
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.pipelines import TOPIC_PREFIX
from argus_operator.reconcile.sweep import Seen, Sweep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.resources import Family, ReplayKey, family_of_pipeline
from argus_operator.settings import ResyncSettings
from argus_operator.tiers import TierBook
from argus_operator.topics import DiskBudget, TopicState

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


Listed = Callable[[str, Sequence[Raw]], None]
"""Is told of every list: plural, and all objects of that kind."""


class Replays(Protocol):
    """Who knows which replays have to be looked at."""

    async def outstanding(self) -> set[ReplayKey]: ...


class Resync:
    """Looks at everything every so often; `run` and `expire` are supervised tasks."""

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        kafka: Topics,
        database: Schemas,
        keeper: Bookkeeper,
        budget: DiskBudget,
        wake: Callable[[Family], None],
        replays: Replays,
        wake_replay: Callable[[ReplayKey], None],
        sweep: Sweep,
        tiers: TierBook,
        usage: UsageBook,
        listed: Listed,
        settings: ResyncSettings,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._kafka = kafka
        self._database = database
        self._keeper = keeper
        self._budget = budget
        self._wake = wake
        self._replays = replays
        self._wake_replay = wake_replay
        self._sweep = sweep
        self._tiers = tiers
        self._usage = usage
        self._listed = listed
        self._settings = settings
        self._last = self._seen_all = time.monotonic()
        self._pipelines: Sequence[Raw] = ()
        self._stock: Mapping[TopicName, TopicState] | None = None
        self.complete = False
        """Whether everything has been seen once."""

    def stalled(self) -> str | None:
        """Why this process is no longer alive; None if it is."""
        now = time.monotonic()
        metrics.RESYNC_AGE.set(now - self._seen_all)
        age = now - self._last
        if age <= self._settings.stalled_after:
            return None
        return f"no round of the resync has ended for {age:.0f} s"

    async def run(self) -> None:
        """Rounds until cancelled; one that fails is logged and comes again."""
        self._last = self._seen_all = time.monotonic()
        while True:
            try:
                await self.round()
            except OperatorError as error:
                logger.warning("resync", extra={"reason": error.message})
            self._last = time.monotonic()
            await self._rest()

    async def _rest(self) -> None:
        """Until the next round; meanwhile Kafka, if it was away, is asked for soon again.

        Without a marker no pod gets ready, so a start need not wait for a whole interval.
        """
        end = self._last + (self._settings.interval if self.complete else _RETRY_S)
        while self._stock is None and time.monotonic() + _RETRY_S < end:
            await asyncio.sleep(_RETRY_S)
            await self._take_stock()
        await asyncio.sleep(max(end - time.monotonic(), 0.0))

    async def round(self) -> None:
        """Looks at everything and wakes the families that ask for it.

        Raises OperatorError where it cannot list.
        """
        began = self._sweep.now()
        self._tiers.refresh()
        tenants = await self._list(TENANTS)
        self._pipelines = await self._list(PIPELINES)
        self._registry.expect(_registered(tenants))
        await self._take_stock()
        await self._read_ledger()
        await self._read_usage()
        seen = Seen(
            at=began,
            tenants=tenants,
            pipelines=self._pipelines,
            sightings=await self._sightings(),
            topics=self._stock,
            documents=self._registry.documents,
        )
        for family in self._sweep.due(seen):
            self._wake(family)
        await self._wake_replays()
        self.complete = True
        self._seen_all = time.monotonic()
        _count(TENANT, tenants)
        _count(PIPELINE, self._pipelines)

    async def _list(self, plural: str) -> list[Raw]:
        found = await self._cluster.objects(plural)
        self._listed(plural, found)
        return found

    async def _sightings(self) -> Mapping[str, str | None] | None:
        """What PostgreSQL holds; the database being away stops no round."""
        try:
            return await self._database.sightings()
        except OperatorError as error:
            logger.warning("sightings", extra={"reason": error.message})
            return None

    async def _take_stock(self) -> None:
        """What Kafka holds, and the marker once more; Kafka being away stops no round."""
        self._stock = None
        try:
            stock = await self._kafka.matching(TOPIC_PREFIX, _elsewhere(self._pipelines))
            self._budget.observe(
                {name: state for name, state in stock.items() if name.startswith(TOPIC_PREFIX)}
            )
            metrics.DISK_ASKED.set(self._budget.asked)
            metrics.DISK_ALLOWED.set(self._budget.limit or 0)
            await self._registry.mark()
            self._stock = stock
        except OperatorError as error:
            logger.warning("registry and topics", extra={"reason": error.message})

    async def _read_ledger(self) -> None:
        """What became of all records; the database being away stops no round."""
        self._keeper.recall(self._pipelines)
        try:
            await self._keeper.refresh()
        except OperatorError as error:
            logger.warning("ledger", extra={"reason": error.message})

    async def _read_usage(self) -> None:
        """What tenants have sent; no engine that is away stops a round."""
        for step in (self._usage.mark, lambda: self._usage.refresh(self._registry.documents)):
            try:
                await step()
            except OperatorError as error:
                logger.warning("usage", extra={"reason": error.message})

    async def _wake_replays(self) -> None:
        """Replays that are not over; a cluster that has no such kind stops no round."""
        try:
            keys = await self._replays.outstanding()
        except OperatorError as error:
            logger.warning("replays", extra={"reason": error.message})
            return
        for key in sorted(keys, key=str):
            self._wake_replay(key)

    async def expire(self) -> None:
        """Drops rows that are past their retention, pipeline by pipeline, until cancelled."""
        while True:
            for raw in self._pipelines:
                meta = raw["metadata"]
                with logs.bound(tenant=str(family_of_pipeline(raw)), pipeline=meta["name"]):
                    await self._expire(meta["uid"])
            await asyncio.sleep(self._settings.expire_interval if self._pipelines else 1.0)

    async def _expire(self, uid: str) -> None:
        try:
            dropped = await self._database.expire(uid)
        except OperatorError as error:
            logger.warning("expire", extra={"reason": error.message})
            return
        metrics.EXPIRED_ROWS.inc(dropped)
        if dropped:
            logger.info("rows expired", extra={"rows": dropped})


def _registered(tenants: Iterable[Raw]) -> list[TenantId]:
    """Tenants that pods were told of, by their own status, and that are to stay."""
    return [
        names.tenant_id(meta["namespace"], meta["name"], meta["uid"])
        for raw in tenants
        for meta in [raw["metadata"]]
        if (raw.get("status") or {}).get("id") and "deletionTimestamp" not in meta
    ]


def _elsewhere(pipelines: Iterable[Raw]) -> set[TopicName]:
    """Topics of pipelines that ARGUS did not make, by the pipelines' own status."""
    statuses = (raw.get("status") or {} for raw in pipelines)
    named = {s.get(name, TOPIC_PREFIX) for s in statuses for name in ("topic", "deadLetterTopic")}
    return {TopicName(name) for name in named if not name.startswith(TOPIC_PREFIX)}


def _count(kind: str, objects: Iterable[Raw]) -> None:
    counts = Counter(_ready(raw) for raw in objects)
    for status in ("True", "False", "Unknown"):
        metrics.RESOURCES.labels(kind, status).set(counts[status])


def _ready(raw: Raw) -> str:
    found = (raw.get("status") or {}).get("conditions") or ()
    return next((str(item["status"]) for item in found if item["type"] == READY), "Unknown")
