"""Topics: what a pipeline's two topics must be, and how to get there. Pure.

Those of `topic.external` are another's: they are judged, and left as they are.

Retention by bytes is meant for a whole topic, Kafka counts it for each partition; and Kafka deletes
whole segments only, so a segment is at most a quarter of what may be kept.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from argus_contract import names
from argus_contract.names import TopicName
from argus_contract.sizes import DEAD_LETTER_OVERHEAD, MAX_EVENT, MIB, RECORD_OVERHEAD

from argus_operator.errors import RefusedError
from argus_operator.models import units
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec

CLEANUP_POLICY: Final = "cleanup.policy"
MAX_MESSAGE_BYTES: Final = "max.message.bytes"
RETENTION_MS: Final = "retention.ms"
RETENTION_BYTES: Final = "retention.bytes"
SEGMENT_BYTES: Final = "segment.bytes"

MAX_BATCH: Final = MAX_EVENT + RECORD_OVERHEAD
"""Largest record batch, in bytes: Kafka judges batches; none of ours is larger."""
MAX_LETTER_BATCH: Final = MAX_BATCH + DEAD_LETTER_OVERHEAD
"""Largest record batch of a dead-letter topic, in bytes."""
_INTERNAL: Final = "__"
"""How names of Kafka's own topics begin."""
_MAX_SEGMENT: Final = 256 * MIB
_OVERHANG: Final = 1.25
"""Times its retention that a partition may hold: Kafka deletes whole segments, each a quarter."""
_FULL: Final = 0.8
"""Share of the retention that unread records may take; from there on ingest refuses new ones."""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it shall be."""

    name: TopicName
    partitions: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Names:
    """A pipeline's two topics."""

    events: TopicName
    letters: TopicName

    @property
    def both(self) -> tuple[TopicName, TopicName]:
        """The topic of the events first."""
        return self.events, self.letters


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is; `configs` holds at least the names that a spec sets.

    Where Kafka does not tell its configuration, `configs` is empty and `readable` false.
    """

    partitions: int
    configs: Mapping[str, str]
    readable: bool = True

    @property
    def retention_bytes(self) -> int:
        """Of the whole topic; 0 where Kafka keeps without a bound."""
        return max(int(self.configs.get(RETENTION_BYTES, "0")), 0) * self.partitions

    @property
    def retention_seconds(self) -> int:
        """How long records are kept."""
        return int(self.configs.get(RETENTION_MS, "0")) // 1000


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the stream has not stored yet, in the partition where that is the most."""

    share: float
    """Unread records among those that the partition holds, from 0 to 1."""
    overdue: bool
    """Whether an unread record is older than the retention that was asked about."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the topic."""

    spec: TopicSpec


@dataclass(frozen=True, slots=True)
class Grow:
    """Add partitions up to `partitions`."""

    name: TopicName
    partitions: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Set all of the topic's own configuration to `configs`."""

    name: TopicName
    configs: Mapping[str, str]


Action = Create | Grow | Configure


def named(meta: Meta, spec: PipelineSpec) -> Names:
    """The topics of a pipeline: those that it names, else those that ARGUS makes for it."""
    external = spec.topic.external
    if external is None:
        return made(meta)
    return Names(TopicName(external.name), TopicName(external.dead_letter_name))


def made(meta: Meta) -> Names:
    """The topics that ARGUS makes for a pipeline."""
    events = names.topic(meta.namespace, meta.name, meta.uid)
    return Names(events, names.dead_letter_topic(events))


def event_topic(meta: Meta, spec: PipelineSpec, existing: int, min_insync: int) -> TopicSpec:
    """The topic for events; `existing` partitions cannot be taken away again."""
    retention = spec.topic.retention
    partitions = max(spec.topic.partitions, existing)
    return TopicSpec(
        name=made(meta).events,
        partitions=partitions,
        configs=_configs(
            retention.hours, units.size(retention.bytes) // partitions, MAX_BATCH, min_insync
        ),
    )


def dead_letter_topic(meta: Meta, spec: PipelineSpec, existing: int, min_insync: int) -> TopicSpec:
    """The topic for dead letters, of one partition."""
    retention = spec.dead_letter.retention
    partitions = max(1, existing)
    return TopicSpec(
        name=made(meta).letters,
        partitions=partitions,
        configs=_configs(
            retention.hours,
            units.size(retention.bytes) // partitions,
            MAX_LETTER_BATCH,
            min_insync,
        ),
    )


def _configs(hours: int, retention_bytes: int, max_batch: int, min_insync: int) -> dict[str, str]:
    return {
        CLEANUP_POLICY: "delete",
        RETENTION_MS: str(hours * _HOUR_MS),
        RETENTION_BYTES: str(retention_bytes),
        SEGMENT_BYTES: str(min(retention_bytes // 4, _MAX_SEGMENT)),
        MAX_MESSAGE_BYTES: str(max_batch),
        "min.insync.replicas": str(min_insync),
        "message.timestamp.type": "LogAppendTime",
    }


def plan(wanted: TopicSpec, observed: TopicState | None) -> list[Action]:
    """The least that makes `observed` as wanted; empty when it is."""
    if observed is None:
        return [Create(wanted)]
    actions: list[Action] = []
    if observed.partitions < wanted.partitions:
        actions.append(Grow(wanted.name, wanted.partitions))
    if any(observed.configs.get(name) != value for name, value in wanted.configs.items()):
        actions.append(Configure(wanted.name, wanted.configs))
    return actions


def misfit(name: TopicName, state: TopicState, *, letters: bool) -> str | None:
    """Why a topic that another looks after cannot be used, and what would help; None if it can.

    What Kafka does not tell of it is taken to be as it must.
    """
    if name.startswith(_INTERNAL):
        return f"topic {name} is Kafka's own: name another"
    if letters and state.partitions != 1:
        return (
            f"topic {name} has {state.partitions} partitions, and dead letters are read from one "
            "alone: make a topic of one partition for them"
        )
    policy = state.configs.get(CLEANUP_POLICY, "delete")
    if policy != "delete":
        return (
            f"topic {name} has {CLEANUP_POLICY}={policy}, which takes away records that nobody has "
            f"read: ask its owner for {CLEANUP_POLICY}=delete"
        )
    needed = MAX_LETTER_BATCH if letters else MAX_BATCH
    allowed = int(state.configs.get(MAX_MESSAGE_BYTES, needed))
    if allowed < needed:
        return (
            f"topic {name} has {MAX_MESSAGE_BYTES}={allowed}: ask its owner for {needed} or more, "
            "or the largest records cannot be written"
        )
    return None


def bounded(state: TopicState, spec: PipelineSpec) -> TopicState:
    """The same, with the spec's retention where Kafka tells of none.

    Ingest judges a backlog by both bounds, so that there must be both.
    """
    asked = {
        RETENTION_MS: spec.topic.retention.hours * _HOUR_MS,
        RETENTION_BYTES: max(units.size(spec.topic.retention.bytes) // state.partitions, 1),
    }
    held = {name: int(state.configs.get(name, "-1")) for name in asked}
    bounds = {name: str(held[name] if held[name] > 0 else asked[name]) for name in asked}
    return replace(state, configs={**state.configs, **bounds})


def lowers(wanted: TopicSpec, observed: TopicState) -> bool:
    """Whether partitions would keep less than they do, by bytes or by time."""
    return any(
        int(wanted.configs[name]) < _bound(observed, name)
        for name in (RETENTION_BYTES, RETENTION_MS)
    )


def endangers(wanted: TopicSpec, observed: TopicState, backlog: Backlog) -> bool:
    """Whether Kafka might delete unread records once the topic is as wanted."""
    if backlog.share == 0:
        return False
    unread = _bound(observed, RETENTION_BYTES) * _OVERHANG * backlog.share
    return backlog.overdue or unread > int(wanted.configs[RETENTION_BYTES]) * _FULL


def _bound(observed: TopicState, name: str) -> float:
    value = int(observed.configs.get(name, "-1"))
    return math.inf if value < 0 else value


class DiskBudget:
    """What all topics together may ask of Kafka's disks; the first to ask is served first.

    Retained topics of deleted pipelines count too: they are on the disk.
    """

    def __init__(self, disk: int | None, overcommit: float, replicas: int) -> None:
        """`disk` in bytes, None for no bound; `replicas` of each topic."""
        self._limit = None if disk is None else round(disk * overcommit)
        self._replicas = replicas
        self._asked: dict[TopicName, int] = {}
        self.fresh = False

    @property
    def limit(self) -> int | None:
        """Bytes that may be asked for."""
        return self._limit

    @property
    def asked(self) -> int:
        """Bytes that are asked for, replicas included."""
        return sum(self._asked.values()) * self._replicas

    def observe(self, topics: Mapping[TopicName, TopicState]) -> None:
        """Takes stock: `topics` are all that exist."""
        self._asked = {name: state.retention_bytes for name, state in topics.items()}
        self.fresh = True

    def reserve(self, topics: Mapping[TopicName, int]) -> None:
        """Books bytes of one replica for these topics, in place of what they had.

        Raises RefusedError, and books nothing, where more than before is asked and the disk is too
        small.
        """
        before = sum(self._asked.get(name, 0) for name in topics)
        wanted = sum(topics.values())
        others = self.asked - before * self._replicas
        total = others + wanted * self._replicas
        if self._limit is not None and wanted > before and total > self._limit:
            raise RefusedError("KafkaDiskTooSmall", self._explain(wanted, others, self._limit))
        self._asked.update(topics)

    def release(self, topics: Iterable[TopicName]) -> None:
        """Gives back what topics that are no more had booked."""
        for name in topics:
            self._asked.pop(name, None)

    def _explain(self, wanted: int, others: int, limit: int) -> str:
        free = units.in_words(max(limit - others, 0))
        return (
            f"topic and dead letters ask for {units.in_words(wanted)} (× {self._replicas} "
            f"replicas), but of the {units.in_words(limit)} that Kafka's disk allows {free} are "
            "left: lower topic.retention.bytes or deadLetter.retention.bytes, delete topics that "
            "nobody needs, or raise the chart's Kafka disk or overcommit"
        )
