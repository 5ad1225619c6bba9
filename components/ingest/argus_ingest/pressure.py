"""Back-pressure: a pipeline is refused before retention could delete what nobody has stored.

A 202 is never unsaid, so what matters is how much of a topic's retention, in bytes and in time, is
taken by records that nobody has read. The stream's commits say what is read; a dead stream's stand
still, so its backlog grows. What is not known is never taken for nothing: a pipeline that could not
be looked at is refused. Between two looks each process takes in no more than its part of the room
that the last one found, so a fast pipeline cannot fill its topic unseen. A request that would not
fit even into an empty log's part is refused for good, for no wait would mend that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Pipeline, TenantDocument

from argus_ingest import metrics
from argus_ingest.backlog import LogWatcher, PartitionState, Question, Verdict, judge
from argus_ingest.errors import BacklogError, BodyTooLargeError
from argus_ingest.settings import PressureSettings

logger = logging.getLogger(__name__)

_FIRST_LOOK: Final = 2.0
"""Seconds that a request waits for the first look at a pipeline just made."""
_UNKNOWN_RETRY: Final = 2.0
_NO_ROOM_RETRY: Final = 2.0
"""Seconds after which another look has found room, unless the backlog grows."""
_SHORTEST: Final = 1.0
_LONGEST: Final = 300.0
"""Bounds of Retry-After, in seconds; the longest also where nothing is drained at all."""
_RATE_SAMPLES: Final = 10
"""Looks over which the drain rate is taken."""


class Look(NamedTuple):
    """A look at a pipeline, before its result is known."""

    began: float
    """In seconds of the loop's clock."""
    settled: int
    """`Watch.settled` then: all of it is in what the look sees."""


class Watch:
    """What is known of one pipeline's backlog, and what was sent there since."""

    def __init__(self, tenant: str, pipeline: Pipeline) -> None:
        self.tenant = tenant
        self.pipeline = pipeline
        self.looked = asyncio.Event()
        self.refused: str | None = None
        self.offered = 0
        """Bytes ever handed to the publisher, if they cannot be compressed."""
        self.settled = 0
        """Of them, those of which it is known what became of them."""
        self._ceiling = -inf
        """What `offered` may reach."""
        self._fresh_until = -inf
        self._committed: dict[int, int] = {}
        self._unread = 0
        self._positions: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def is_known(self, now: float) -> bool:
        """Whether the last look still counts; `now` in seconds of the loop's clock."""
        return now < self._fresh_until

    def is_free(self, size: int, now: float) -> bool:
        """Whether there is room for so many bytes more; `now` in seconds of the loop's clock."""
        return self.offered + size <= self._ceiling and now < self._fresh_until

    def see(
        self, states: list[PartitionState], settings: PressureSettings, replicas: int, look: Look
    ) -> None:
        """Takes a look's result; each of `replicas` processes may take in a part of the room."""
        threshold, pipeline = settings.threshold, self.pipeline
        states = [self._remember(number, state) for number, state in enumerate(states)]
        verdict = judge(states, pipeline, settings.record_bytes)
        self._unread = verdict.records
        self._positions.append((look.began, sum(state.position for state in states)))
        self.refused = self._reason(verdict, threshold)
        # Were all of it for the fullest partition, it still would not be too much.
        room = (threshold - verdict.fullness) * pipeline.retention_bytes / max(1, len(states))
        self._ceiling = -inf if self.refused else look.settled + room / replicas
        # A record that was not overdue then may be by now, but it is there for so long.
        spare = (1 - threshold) * pipeline.retention_seconds
        self._fresh_until = look.began + min(settings.stale_after, spare)
        self.looked.set()
        labels = (self.tenant, pipeline.name)
        metrics.UNREAD_RECORDS.labels(*labels).set(verdict.records)
        metrics.UNREAD_BYTES.labels(*labels).set(verdict.bytes)
        metrics.UNREAD_SHARE.labels(*labels).set(verdict.fullness)
        metrics.REFUSING.labels(*labels).set(0 if self.refused is None else 1)

    def _remember(self, partition: int, state: PartitionState) -> PartitionState:
        """With the last commit that was seen: brokers forget a group's offsets with its topic, but
        the stream does not forget what it has read."""
        if state.committed is None:
            return state._replace(committed=self._committed.get(partition))
        self._committed[partition] = state.committed
        return state

    def _reason(self, verdict: Verdict, threshold: float) -> str | None:
        name = self.pipeline.name
        again = "it takes events again when the stream has stored some"
        if verdict.rewound:
            return (
                f"The log of pipeline {name} ends before what the stream has read of it: its topic "
                "was made anew or cut, and nothing that comes now would be stored"
            )
        if verdict.fullness >= threshold:
            return (
                f"The unread part of pipeline {name} fills {verdict.fullness:.0%} of what its "
                f"topic may keep; {again}"
            )
        if verdict.overdue:
            age = threshold * self.pipeline.retention_seconds
            return (
                f"The unread part of pipeline {name} is older than {age:.0f} s, {threshold:.0%} of "
                f"what its topic keeps; {again}"
            )
        return None

    def retry_after(self) -> float:
        """Seconds until the backlog is drained at the rate seen lately."""
        (then, before), (now, after) = self._positions[0], self._positions[-1]
        if after <= before or now <= then:
            return _LONGEST
        drained = (after - before) / (now - then)
        return min(_LONGEST, max(_SHORTEST, self._unread / drained))


class Pressure:
    """Watches all pipelines and refuses those whose backlog is too large or unknown."""

    def __init__(self, watcher: LogWatcher, settings: PressureSettings, replicas: int) -> None:
        """`replicas` is how many processes fill the same logs."""
        self._watcher = watcher
        self._settings = settings
        self._replicas = replicas
        self._watches: dict[TopicName, Watch] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def update(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        """Takes the registry's snapshot; new pipelines are looked at without delay."""
        watches = {}
        for document in documents.values():
            for pipeline in document.pipelines:
                watch = self._watches.get(pipeline.topic) or Watch(document.display, pipeline)
                watch.pipeline = pipeline
                watches[pipeline.topic] = watch
        if watches.keys() - self._watches.keys():
            self._changed.set()
        for labels in _labels(self._watches) - _labels(watches):
            metrics.forget_backlog(*labels)
        self._watches = watches

    def free(self, pipeline: Pipeline, size: int) -> Watch | None:
        """The pipeline's watch if it is known to have room for so many bytes; if not, `admit` says
        more."""
        watch = self._watches.get(pipeline.topic)
        return watch if watch is not None and watch.is_free(size, self._loop.time()) else None

    async def admit(self, pipeline: Pipeline, size: int) -> Watch:
        """The same, after a first look that is under way.

        Raises BacklogError where there is no room, BodyTooLargeError where there can never be.
        """
        largest = self._largest(pipeline)
        if size > largest:
            raise BodyTooLargeError(
                f"What pipeline {pipeline.name} gets of the body takes {size} bytes in Kafka; it "
                f"never takes more than {largest} at once. Send fewer events at once.",
                members={"limit": largest},
            )
        watch = self._watches.get(pipeline.topic)
        if watch is not None and not watch.looked.is_set():
            await self._first_look(watch)
        now = self._loop.time()
        if watch is not None and watch.is_free(size, now):
            return watch
        if watch is not None and watch.refused is not None:
            raise BacklogError(f"{watch.refused}.", retry_after=watch.retry_after())
        if watch is not None and watch.is_known(now):
            raise BacklogError(
                f"Pipeline {pipeline.name} has no room for {size} bytes now, after what is unread "
                "and what came since that was looked at.",
                retry_after=_NO_ROOM_RETRY,
            )
        raise BacklogError(
            f"How much of pipeline {pipeline.name} is unread is not known now.",
            retry_after=_UNKNOWN_RETRY,
        )

    def _largest(self, pipeline: Pipeline) -> int:
        """Bytes that this process takes at once where nothing is unread."""
        allowed = pipeline.retention_bytes / max(1, pipeline.partitions)
        return int(self._settings.threshold * allowed / self._replicas)

    @staticmethod
    async def _first_look(watch: Watch) -> None:
        try:
            async with asyncio.timeout(_FIRST_LOOK):
                await watch.looked.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Looks at all pipelines once an interval, for ever; a supervised task."""
        while True:
            self._changed.clear()
            try:
                await self._look()
            except (OSError, TimeoutError) as error:
                metrics.PRESSURE_FAILURES.inc()
                logger.warning("the backlogs could not be read: %r", error)
            try:
                async with asyncio.timeout(self._settings.interval):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        threshold, began = self._settings.threshold, self._loop.time()
        questions = {
            topic: Question(watch.pipeline.partitions, threshold * watch.pipeline.retention_seconds)
            for topic, watch in self._watches.items()
        }
        if not questions:
            return
        looks = {topic: Look(began, watch.settled) for topic, watch in self._watches.items()}
        async with asyncio.timeout(self._settings.stale_after):
            seen = await self._watcher.look(questions)
        for topic, states in seen.items():
            watch = self._watches.get(topic)
            if watch is not None:
                watch.see(states, self._settings, self._replicas, looks[topic])


def _labels(watches: Mapping[TopicName, Watch]) -> set[tuple[str, str]]:
    return {(watch.tenant, watch.pipeline.name) for watch in watches.values()}
