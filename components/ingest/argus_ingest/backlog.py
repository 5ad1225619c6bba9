"""How much of a topic's retention is taken by records that nobody has read: the arithmetic.

A dead stream's commits stand still, so its backlog grows. What is not known is never taken for
nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from argus_contract.names import TopicName
from argus_contract.registry import Pipeline


class PartitionState(NamedTuple):
    """One partition's log, and how far it is read; offsets as Kafka counts them."""

    start: int
    end: int
    committed: int | None
    """The stream's next offset, None where it never committed one."""
    recent: int | None
    """The first offset younger than the age asked for, None where no record is."""
    size: int | None
    """Bytes of the log, None where the broker does not tell."""

    @property
    def position(self) -> int:
        """The first unread offset."""
        return self.start if self.committed is None else max(self.start, self.committed)

    @property
    def unread(self) -> int:
        """Records not stored yet."""
        return max(0, self.end - self.position)

    @property
    def rewound(self) -> bool:
        """Whether the log ends before what is read of it: what comes now nobody would read."""
        return self.committed is not None and self.committed > self.end

    @property
    def overdue(self) -> bool:
        """Whether the oldest unread record is older than the age asked for."""
        return self.unread > 0 and (self.recent is None or self.position < self.recent)


class Question(NamedTuple):
    """What is asked of a topic: `age` in seconds divides old records from recent ones."""

    partitions: int
    age: float


class LogWatcher(Protocol):
    """Looks at logs and commits."""

    async def look(
        self, questions: Mapping[TopicName, Question]
    ) -> Mapping[TopicName, list[PartitionState]]:
        """The state of each topic's partitions; topics that could not be read are absent.

        Raises OSError where nothing at all could be read.
        """


class Verdict(NamedTuple):
    """How full a pipeline's retention is with unread records: 1 is all of it."""

    records: int
    bytes: int
    fullness: float
    overdue: bool
    rewound: bool


def judge(states: list[PartitionState], pipeline: Pipeline, record_size: float) -> Verdict:
    """The fullest partition counts, because each deletes by its own size.

    A partition's unread bytes are its size × the unread share of its records; where the broker
    tells no size, unread records × `record_size` bytes.
    """
    allowed = pipeline.retention_bytes / max(1, len(states))
    sizes = [_unread_bytes(state, record_size) for state in states]
    return Verdict(
        sum(state.unread for state in states),
        round(sum(sizes)),
        max(sizes, default=0.0) / allowed if allowed > 0 else 0.0,
        any(state.overdue for state in states),
        any(state.rewound for state in states),
    )


def _unread_bytes(state: PartitionState, record_size: float) -> float:
    kept = state.end - state.start
    if state.size is None or kept <= 0:
        return state.unread * record_size
    return state.size * state.unread / kept
