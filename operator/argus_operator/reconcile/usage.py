"""What tenants have sent, read once a round, and counted anew where Redis has forgotten it.

Within a day and a month a count only grows. So one that is not there, or has fallen since the last
look, was lost, and one that was not looked at the last time may have missed what passed meanwhile:
it is raised to what the ledger says. Nothing is ever lowered.
"""

from collections.abc import Sequence

from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_contract.registry import Limits

from argus_operator import metrics, usage
from argus_operator.documents import Documents
from argus_operator.ports import Schemas, UsageStore
from argus_operator.usage import Reading, Use


class UsageBook:
    """Remembers the last reading of Redis, for whoever writes a status."""

    def __init__(self, store: UsageStore, database: Schemas) -> None:
        self._store = store
        self._database = database
        self._reading: Reading | None = None
        self._sure: dict[TenantId, Usage] = {}
        """Counts from which nothing was missing when they were last seen."""

    async def mark(self) -> None:
        """Notes in the database where pipelines stand, if a day begins; raises OperatorError."""
        await self._database.mark_usage()

    async def refresh(self, documents: Documents) -> None:
        """Reads it all, and raises what is too low; raises OperatorError.

        While Redis is away nothing changes, and while the database is, nothing is raised.
        """
        before, self._sure = self._sure, {}
        limited = [id_ for id_, told in documents.items() if usage.has_quota(told.limits)]
        reading = self._reading = await self._store.read(limited, list(documents))
        self._sure = {
            id_: found
            for id_, found in reading.usage.items()
            if id_ in before and not usage.fell(before[id_], found)
        }
        doubtful = [id_ for id_ in limited if id_ not in self._sure]
        if doubtful:
            await self._raise(reading, doubtful)

    async def _raise(self, reading: Reading, doubtful: Sequence[TenantId]) -> None:
        sent = await self._database.usage()
        floors = {id_: sent[id_] for id_ in doubtful if id_ in sent}
        await self._store.raise_to(floors)
        raised = {
            id_: reading.usage.get(id_, Usage.none(reading.now)).at(reading.now).raised(floor)
            for id_, floor in floors.items()
        }
        metrics.USAGE_RAISED.inc(sum(raised[id_] != reading.usage.get(id_) for id_ in raised))
        self._sure |= raised
        self._reading = Reading(reading.now, {**reading.usage, **raised}, reading.used)

    def of(self, tenant: TenantId, limits: Limits) -> Use | None:
        """A tenant's use under these limits, as last read; None before Redis was read at all."""
        return None if self._reading is None else usage.use(self._reading, tenant, limits)
