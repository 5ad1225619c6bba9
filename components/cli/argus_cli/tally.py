"""The sender's own record of what it sent and what was acknowledged.

Kept by the demonstration apart from everything that ARGUS counts, so that the two can be compared.
Pure. It must never learn anything from the database or from Kafka.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP body to send from one client address.

    `ids` has an entry for each event in the body, in order: the event's id, None where it is one
    that ARGUS must refuse.
    """

    body: bytes
    content_type: str
    address: str
    ids: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event of a request that was acknowledged as refused: it is on its way to dead letters."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What ARGUS said to a request; `retry_after` in seconds, where it named a wait.

    Status 0 means that no attempt got an answer; `detail` then says why.
    """

    status: int
    accepted: int = 0
    rejected: tuple[Rejection, ...] = ()
    detail: str = ""
    retry_after: float | None = None
    attempts: int = 1

    @property
    def acknowledged(self) -> int:
        """How many records of the log this answer promises."""
        return self.accepted + len(self.rejected)

    @property
    def passing(self) -> bool:
        """Whether sending the same again later may bring another answer."""
        return self.status in (0, 408, 429, 503)


@dataclass(slots=True)
class Tally:
    """Sums over all requests."""

    requests: int = 0
    """Requests that were sent, each counted once however often it was tried."""
    accepted: int = 0
    """Events that were acknowledged as accepted."""
    repeated: int = 0
    """Accepted events whose id had been accepted before: each must become a duplicate."""
    retried: int = 0
    """Attempts that ended without an acknowledgement and were made again."""
    unacknowledged: Counter[str] = field(default_factory=Counter)
    """Requests that never got one, by reason: what they held may be stored, and need not be."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Events that were acknowledged as refused, by code."""
    accepted_ids: set[str] = field(default_factory=set)
    """The events that must now be rows."""

    @property
    def acknowledged(self) -> int:
        """Records that ARGUS promised to be in its log."""
        return self.accepted + self.rejected.total()

    def note(self, request: Request, answer: Answer) -> None:
        """Takes the last answer to a request."""
        self.requests += 1
        self.retried += answer.attempts - 1
        if not answer.acknowledged:
            self.unacknowledged[f"{answer.status} {answer.detail}".strip()] += 1
            return
        refused = {rejection.index for rejection in answer.rejected}
        self.rejected.update(rejection.code for rejection in answer.rejected)
        self.accepted += answer.accepted
        for index, event_id in enumerate(request.ids):
            if event_id is None or index in refused:
                continue
            self.repeated += event_id in self.accepted_ids
            self.accepted_ids.add(event_id)
