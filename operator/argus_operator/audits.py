"""The periodic audit: rows and letters counted, pipeline by pipeline, against the ledger.

One at a time, since a count reads a whole table. What it finds is kept in the pipeline's status, so
a restart neither forgets it nor begins all over. A disagreement is an alarm: it is told only once a
second count has found it too, and looked at again soon, so that it ends soon after it was mended.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from argus_runtime import logs

from argus_operator import metrics
from argus_operator.errors import OperatorError
from argus_operator.ledger import Audit, Books
from argus_operator.ports import Schemas
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.resources import Family
from argus_operator.settings import AuditSettings

logger = logging.getLogger(__name__)

_IDLE_S: Final = 5.0
_RETRY_S: Final = 900.0
"""Before a pipeline is tried again whose audit failed, or found a disagreement."""


class Auditor:
    """Audits what is due; `run` is a supervised task."""

    def __init__(
        self,
        database: Schemas,
        keeper: Bookkeeper,
        wake: Callable[[Family], None],
        settings: AuditSettings,
    ) -> None:
        self._database = database
        self._keeper = keeper
        self._wake = wake
        self._interval = timedelta(seconds=settings.interval)
        self._timeout = settings.timeout
        self._failed: dict[str, float] = {}

    async def run(self) -> None:
        """Audits until cancelled."""
        while True:
            books = self.due()
            if books is None:
                await asyncio.sleep(_IDLE_S)
            else:
                family = Family(books.namespace, books.tenant)
                with logs.bound(tenant=str(family), pipeline=books.pipeline):
                    await self._audit(books)

    def due(self) -> Books | None:
        """The pipeline that waits longest for its audit, None where none is due."""
        for entry in self._keeper.auditable():
            failed = self._failed.get(entry.books.uid)
            if failed is not None and time.monotonic() < failed + _RETRY_S:
                continue
            if entry.audit is None or entry.books.at - entry.audit.at >= self._wait(entry.audit):
                return entry.books
        return None

    def _wait(self, last: Audit) -> timedelta:
        return self._interval if last.balanced else min(self._interval, timedelta(seconds=_RETRY_S))

    async def _audit(self, books: Books) -> None:
        try:
            found = await self._count(books)
        except OperatorError as error:
            self._failed[books.uid] = time.monotonic()
            metrics.AUDITS.labels("failed").inc()
            logger.warning("audit", extra={"reason": error.message})
            return
        self._failed.pop(books.uid, None)
        if found is None:
            self._keeper.forget(books.uid)
        else:
            self._tell(books, found)

    async def _count(self, books: Books) -> Audit | None:
        """What is there; of two counts the second, where the first disagrees with the ledger."""
        found = await self._database.audit(books.uid, self._timeout)
        if found is None or found.balanced:
            return found
        logger.warning("audit disagrees, and is made again", extra={"found": found.message})
        return await self._database.audit(books.uid, self._timeout)

    def _tell(self, books: Books, found: Audit) -> None:
        metrics.AUDITS.labels("balanced" if found.balanced else "unbalanced").inc()
        level = logging.INFO if found.balanced else logging.ERROR
        logger.log(level, "audit", extra={"found": found.message})
        self._keeper.audited(books.uid, found)
        self._wake(Family(books.namespace, books.tenant))
