"""The ledger as the operator shows it: what became of records, and what is wrong. Pure.

A term is never computed as what the others leave over; what is derived here (rates, troubles) is
derived from what `argus.pipeline_ledger` and `argus.audit` counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from argus_contract.states import State, blocks_letters

from argus_operator.models import units

_DIGITS: Final = 2
"""Significant digits of a rate: a steady load is then mostly the same number."""


class Reason(StrEnum):
    """Why a pipeline is not Healthy."""

    PARTITION_STOPPED = "PartitionStopped"
    GUARD_TRIPPED = "GuardTripped"
    LETTERS_BLOCKED = "LettersBlocked"
    STORE_PAUSED = "StorePaused"
    STREAM_SILENT = "StreamSilent"
    UNBALANCED = "Unbalanced"
    RECORDS_LOST = "RecordsLost"


@dataclass(frozen=True, slots=True)
class Books:
    """One pipeline's row of `argus.pipeline_ledger`; counts of records over its partitions.

    `at` is when it was read and `sampled_at` when the stream last looked at the log's end, both by
    the database's clock. `state` is None where that of some partition has not been reported for a
    minute; `reason` is the stream's, of the partition in the worst state.
    """

    uid: str
    namespace: str
    tenant: str
    pipeline: str
    topic: str
    at: datetime
    log_start: int = 0
    log_end: int = 0
    stored: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    lost: int = 0
    expired: int = 0
    in_flight: int = 0
    balanced: bool = True
    by_reason: Mapping[str, int] | None = None
    oldest_unread_at: datetime | None = None
    last_event_at: datetime | None = None
    state: State | None = None
    reason: str = ""
    sampled_at: datetime | None = None

    @property
    def records(self) -> int:
        """How many records the log took since the books began."""
        return self.log_end - self.log_start

    @property
    def oldest_unread(self) -> float:
        """Age in seconds of the oldest record that is not stored; 0 where there is none."""
        if self.oldest_unread_at is None:
            return 0.0
        return max((self.at - self.oldest_unread_at).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True)
class Audit:
    """A count of what is really there, held against the ledger of the same moment."""

    at: datetime
    balanced: bool
    message: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Events and dead letters per second, rounded."""

    stored: float
    dead_lettered: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong, in words that a person can act on."""

    reason: Reason
    message: str


def rates(before: Books, now: Books) -> Rates | None:
    """What was stored per second between two looks.

    None where that cannot be told: hardly any time has passed, or an older database came back.
    """
    seconds = (now.at - before.at).total_seconds()
    stored = now.stored - before.stored
    dead_lettered = now.dead_lettered - before.dead_lettered
    if seconds < 1 or stored < 0 or dead_lettered < 0:
        return None
    return Rates(_rounded(stored / seconds), _rounded(dead_lettered / seconds))


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def audit(at: datetime, counts: Mapping[str, int]) -> Audit:
    """Judges a row of `argus.audit`: both equations must hold, and the message says how they do."""
    rows = counts["rows"] + counts["expired"] == counts["stored"]
    letters = counts["letters"] + counts["letters_expired"] == counts["dead_lettered"]
    told = (
        f"rows {counts['rows']:,} + expired {counts['expired']:,} {_sign(rows)} "
        f"stored {counts['stored']:,}; letters {counts['letters']:,} + expired "
        f"{counts['letters_expired']:,} {_sign(letters)} dead-lettered {counts['dead_lettered']:,}"
    )
    return Audit(at, rows and letters, told)


def _sign(equal: bool) -> str:
    return "=" if equal else "≠"


def troubles(books: Books, audited: Audit | None) -> list[Trouble]:
    """All that is wrong, what somebody can act on first."""
    found = (_standing(books), _balance(books, audited), _losses(books))
    return [trouble for trouble in found if trouble is not None]


def silence(books: Books) -> Trouble:
    """What it means that no state is reported, where there was time enough for it."""
    last = "" if books.sampled_at is None else f" since {units.instant(books.sampled_at)}"
    return Trouble(
        Reason.STREAM_SILENT,
        f"no stream process reports on all of its partitions{last}: what is not reported on is not "
        "stored, and waits in Kafka. See whether the pods of the stream run and reach Kafka and "
        "PostgreSQL",
    )


def _standing(books: Books) -> Trouble | None:
    match books.state:
        case State.STOPPED:
            return Trouble(
                Reason.PARTITION_STOPPED,
                f"a partition of topic {books.topic} is read no more: {books.reason}. If its log "
                "ended too early, neither a restart nor a restored broker makes it go on: restore "
                "the log to a state no older than the database and then call "
                "argus.resume_partition as the database's owner, or delete this pipeline (Retain "
                "keeps its rows) and create it again",
            )
        case State.GUARDED:
            return Trouble(Reason.GUARD_TRIPPED, f"the guard has paused it: {books.reason}")
        case State.PAUSED if blocks_letters(books.reason):
            return Trouble(
                Reason.LETTERS_BLOCKED,
                f"its dead letters cannot be written, and nothing is stored before they are: "
                f"{books.reason}",
            )
        case State.PAUSED:
            return Trouble(
                Reason.STORE_PAUSED,
                f"its events wait in Kafka and are tried again: {books.reason}",
            )
        case _:
            return None


def _balance(books: Books, audited: Audit | None) -> Trouble | None:
    if audited is not None and not audited.balanced:
        return Trouble(
            Reason.UNBALANCED,
            f"the audit of {units.instant(audited.at)} found {audited.message}: rows or letters "
            "were added or removed by other hands than ARGUS's",
        )
    if not books.balanced and not books.lost:
        return Trouble(
            Reason.UNBALANCED,
            f"the terms of the ledger do not add up: see topic {books.topic} in the view "
            "argus.ledger, and `argus ledger`",
        )
    return None


def _losses(books: Books) -> Trouble | None:
    if not books.lost:
        return None
    return Trouble(
        Reason.RECORDS_LOST,
        f"{books.lost:,} records of topic {books.topic} were deleted before they were stored: "
        "retention was shortened, a disk ran full, or the topic was cut by hand",
    )
