"""The ledger of all pipelines, read once a round, kept for status, conditions and metrics.

One query for a thousand pipelines; whoever asks in between gets what the last one told. A pipeline
that is younger than that, or whatever is asked for after a query that failed, is asked for itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from argus_contract.states import State
from pydantic import ValidationError

from argus_operator import ledger, metrics
from argus_operator.ledger import Audit, Books, Rates
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import AuditStatus
from argus_operator.ports import Schemas

_TERMS = ("stored", "duplicate", "dead_lettered", "skipped", "lost", "expired")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one pipeline; `rates` and `audit` are None before the first of each.

    `awaited` is since when an audit is: the last one, or when the pipeline was first seen.
    """

    books: Books
    awaited: datetime
    rates: Rates | None = None
    audit: Audit | None = None


class Bookkeeper:
    """Reads the ledger and remembers what it said."""

    def __init__(self, database: Schemas, *, audits: bool = True) -> None:
        """`audits` is whether any are made: if not, what an earlier process found is not recalled,
        for nothing would ever take it back."""
        self._database = database
        self._audits = audits
        self._entries: dict[str, Entry] = {}
        self._recalled: dict[str, Audit | None] = {}
        self._fresh = False

    async def refresh(self) -> None:
        """Reads it all; raises OperatorError, and then answers for itself each who asks."""
        self._fresh = False
        found = await self._database.books()
        self._entries = {books.uid: self._entry(books) for books in found}
        self._fresh = True
        metrics.LEDGER_READ.set_to_current_time()
        self._show()

    async def of(self, uid: str) -> Entry | None:
        """A pipeline's entry, None where PostgreSQL does not know it; raises OperatorError."""
        held = self.known(uid)
        if held is not None:
            return held
        for books in await self._database.books(uid):
            self._entries[uid] = self._entry(books)
            return self._entries[uid]
        return None

    def known(self, uid: str) -> Entry | None:
        """A pipeline's entry as the last reading gave it; None where there is none to rely on."""
        return self._entries.get(uid) if self._fresh else None

    def _entry(self, books: Books) -> Entry:
        before = self._entries.get(books.uid)
        audit = self._recalled.get(books.uid)
        awaited = books.at if audit is None else audit.at
        if before is None:
            return Entry(books, awaited, audit=audit)
        rates = ledger.rates(before.books, books) or before.rates
        return Entry(books, before.awaited if audit is None else awaited, rates, audit)

    def recall(self, pipelines: Iterable[Raw]) -> None:
        """Takes over from `pipelines`, which are all there are, what an earlier process found."""
        known = self._recalled
        self._recalled = {
            uid: known[uid] if uid in known else self._told(raw.get("status") or {})
            for raw in pipelines
            for uid in [raw["metadata"]["uid"]]
        }

    def audited(self, uid: str, found: Audit) -> None:
        """Notes what an audit found."""
        held = self._entries.get(uid)
        if uid in self._recalled and held is not None:
            self._recalled[uid] = found
            self._entries[uid] = Entry(held.books, found.at, held.rates, found)
            self._show()

    def forget(self, uid: str) -> None:
        """Drops a pipeline that PostgreSQL knows no more."""
        self._entries.pop(uid, None)

    def auditable(self) -> list[Entry]:
        """Pipelines that an audit may be made of, the longest not audited first."""
        entries = [entry for uid, entry in self._entries.items() if uid in self._recalled]
        return sorted(entries, key=lambda entry: 0.0 if entry.audit is None else _age(entry.audit))

    def _told(self, status: Mapping[str, Any]) -> Audit | None:
        if not self._audits:
            return None
        try:
            said = AuditStatus.model_validate(status.get("audit"))
        except ValidationError:  # somebody wrote it by hand: there was no audit
            return None
        return Audit(said.checked_at, said.balanced, said.message)

    def _show(self) -> None:
        values: dict[metrics.Series, float] = {}
        for entry in self._entries.values():
            values |= _values(entry)
            if self._audits:
                series = (metrics.AUDIT_TIMESTAMP, _whose(entry.books))
                values[series] = entry.awaited.timestamp()
        metrics.PIPELINES.show(values)


def _age(audit: Audit) -> float:
    return audit.at.timestamp()


def _whose(books: Books) -> tuple[str, str, str]:
    return books.namespace, books.tenant, books.pipeline


def _values(entry: Entry) -> dict[metrics.Series, float]:
    books = entry.books
    whose = _whose(books)
    values: dict[metrics.Series, float] = {
        (metrics.LEDGER_LOG_END, whose): books.records,
        (metrics.LEDGER_IN_FLIGHT, whose): books.in_flight,
        (metrics.LEDGER_OLDEST_UNREAD, whose): books.oldest_unread,
        (metrics.LEDGER_BALANCED, whose): books.balanced,
    }
    for term in _TERMS:
        values[metrics.LEDGER_RECORDS, (*whose, term)] = getattr(books, term)
    for code, count in (books.by_reason or {}).items():
        values[metrics.DEAD_LETTERS, (*whose, code)] = count
    for state in State:
        values[metrics.PIPELINE_STATE, (*whose, state.value)] = state is books.state
    if entry.audit is not None:
        values[metrics.AUDIT_BALANCED, whose] = entry.audit.balanced
    return values
