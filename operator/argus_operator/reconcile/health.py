"""How a pipeline fares: whether what it accepted is stored, and the figures of its status.

Ready says whether events are accepted, Healthy whether they are stored. The two meet in a stopped
partition, which stores nothing before a person decides: such a pipeline is neither. Whether ingest
refuses its events meanwhile cannot be told from the ledger: it does while the log ends before what
was read of it, and otherwise once the backlog nears its retention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from argus_operator import conditions, ledger
from argus_operator.conditions import HEALTHY, Finding
from argus_operator.errors import OperatorError
from argus_operator.ledger import Audit, Books, Rates, Reason
from argus_operator.models import pipeline as models
from argus_operator.models import units
from argus_operator.models.common import ConditionStatus, Model, ReasonCounts
from argus_operator.reconcile.attempt import attempt
from argus_operator.reconcile.bookkeeping import Bookkeeper, Entry
from argus_operator.resources import Pipeline

_GRACE: Final = timedelta(minutes=1)
"""That a new pipeline, or a release or database that just starts, is given before silence is a
fault."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger means for one pipeline's status; `figures` holds what is certain now."""

    finding: Finding
    figures: Mapping[str, Any]

    @property
    def stopped(self) -> bool:
        """Whether a partition cannot be read any more, so that its events should not be sent."""
        return self.finding.reason == Reason.PARTITION_STOPPED


class Health:
    """Judges pipelines by the ledger."""

    def __init__(self, keeper: Bookkeeper) -> None:
        self._keeper = keeper
        self._began: datetime | None = None

    async def of(self, pipeline: Pipeline) -> Standing:
        """A pipeline's standing; Unknown where the ledger cannot be read."""
        entry = await attempt(self._keeper.of(pipeline.meta.uid))
        if isinstance(entry, OperatorError):
            self._began = None  # the stream cannot report either while the database is away
            return Standing(_unknown(entry.reason, entry.message), {})
        if entry is None:
            return Standing(_unknown("NotThereYet", "it has no ledger yet"), {})
        return Standing(self._judge(pipeline, entry), _figures(entry))

    def known(self, pipeline: Pipeline) -> Standing | None:
        """A pipeline's standing by what was read already; None where that does not tell."""
        entry = self._keeper.known(pipeline.meta.uid)
        return None if entry is None else Standing(self._judge(pipeline, entry), _figures(entry))

    def _judge(self, pipeline: Pipeline, entry: Entry) -> Finding:
        books = entry.books
        found = ledger.troubles(books, entry.audit)
        if books.state is None and self._had_time(pipeline, books.at):
            found.insert(0, ledger.silence(books))
        if found:
            message = "; besides, ".join(trouble.message for trouble in found)
            return conditions.bad(HEALTHY, found[0].reason, message)
        if books.state is None:
            return _unknown("NotReadYet", "the stream has still to report on its partitions")
        return conditions.good(HEALTHY, "AsExpected", "what is accepted is stored")

    def _had_time(self, pipeline: Pipeline, now: datetime) -> bool:
        """Whether the stream could have reported: it may have been away as long as we were, or as
        long as the database was.

        A pipeline that it was silent about before is given no more time.
        """
        self._began = self._began or now
        silent = any(old.reason == Reason.STREAM_SILENT for old in pipeline.conditions)
        return silent or now - max(pipeline.meta.creation_timestamp, self._began) > _GRACE


def _unknown(reason: str, message: str) -> Finding:
    return Finding(HEALTHY, ConditionStatus.UNKNOWN, reason, message)


def _figures(entry: Entry) -> dict[str, Any]:
    """The status's figures; a time that there is none of is null, which removes the field."""
    books = entry.books
    figures: dict[str, Any] = {
        "lag": max(books.in_flight, 0),
        "lastEventAt": _instant(books.last_event_at),
        "oldestUnreadAt": _instant(books.oldest_unread_at),
        "deadLetters": _letters(books),
    }
    if entry.rates is not None:
        figures["rates"] = _dump(_rates(entry.rates))
    if entry.audit is not None:
        figures["audit"] = _dump(_audit(entry.audit))
    return figures


def _letters(books: Books) -> dict[str, Any]:
    """The total is the ledger's own, so that reasons which do not add up to it are seen."""
    return _dump(ReasonCounts.of(books.by_reason or {})) | {"total": books.dead_lettered}


def _rates(rates: Rates) -> models.Rates:
    return models.Rates(stored_per_second=rates.stored, dead_letters_per_second=rates.dead_lettered)


def _audit(audit: Audit) -> models.AuditStatus:
    return models.AuditStatus(
        checked_at=audit.at.replace(microsecond=0), balanced=audit.balanced, message=audit.message
    )


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else units.instant(moment)


def _dump(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)
