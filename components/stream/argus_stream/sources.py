"""Where records come from and where they belong: the small types that every step shares."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from argus_contract.headers import Header
from argus_contract.registry import Pipeline, TenantDocument
from argus_contract.states import State


class Source(NamedTuple):
    """One partition of one pipeline's topic."""

    topic: str
    partition: int


class Record(Protocol):
    """What the stream reads of a Kafka record; aiokafka's ConsumerRecord is one."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """When it was produced, in milliseconds since the epoch."""

    @property
    def value(self) -> bytes | None:
        """An envelope, a reject's raw bytes, or whatever a stranger wrote."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """Headers in the order in which they were written."""


@dataclass(frozen=True, slots=True)
class Route:
    """The pipeline of a topic, and whose it is."""

    tenant: TenantDocument
    pipeline: Pipeline


class Standing(NamedTuple):
    """What a partition does, and why, in words; there is no reason for being open."""

    state: State
    reason: str | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """The right to read a partition from an offset of SQL's on, until somebody closes it.

    Opening a partition again makes another lease, so what was read under a closed one can be told
    from what is read now and is dropped.
    """

    source: Source
    route: Route
    next: int
    """Offset of the first record that was not yet decoded."""
    trial: bool = False
    """Whether what is read is only tried, because the guard has tripped, and neither stored nor
    dead-lettered."""
    live: bool = True
    suspect_until: float = 0.0
    """Until then (monotonic seconds) each record is screened closely: the database refused one."""
