"""Group commit: everything that waits for one partition goes to Kafka as one batch.

While a batch is under way the next records gather, so an idle edge waits for nothing and a busy one
pays for a batch, not for a request. A request is answered when all of its records are acknowledged,
and fails as a whole at its deadline or when one of its batches fails: the client then sends all of
it again, which is safe, because id and time tell a duplicate.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from argus_contract.registry import Pipeline

from argus_ingest import metrics
from argus_ingest.budget import Budget
from argus_ingest.errors import LogUnavailableError
from argus_ingest.records import Record

logger = logging.getLogger(__name__)

_RETRY_AFTER: Final = 2.0
_SWEEP: Final = 0.1
"""Seconds between two looks for requests past their deadline."""
_DETAIL: Final = (
    "Kafka did not acknowledge the events. They may be stored all the same; sending them again "
    "with the same id and timestamp is safe."
)


class LogError(Exception):
    """Kafka did not take a batch."""


class Batch(Protocol):
    """Records for one partition, being collected."""

    def append(self, record: Record) -> bool:
        """Whether it still fitted; the first record always does."""


class Log(Protocol):
    """The log that batches are appended to."""

    @property
    def connected_once(self) -> bool:
        """Whether there is a log at all yet; nothing else may be called before."""

    def batch(self) -> Batch:
        """An empty batch."""

    def partition(self, key: bytes, partitions: int) -> int:
        """The partition of a key."""

    async def send(self, batch: Batch, topic: str, partition: int) -> None:
        """Returns when all in-sync replicas have the batch; raises LogError."""


class Ticket:
    """One request's wait for all of its records."""

    __slots__ = ("deadline", "done", "left")

    def __init__(self, done: "asyncio.Future[None]", left: int, deadline: float) -> None:
        self.done = done
        self.left = left
        self.deadline = deadline

    def acknowledge(self) -> None:
        """One record more is in the log."""
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self) -> None:
        """The request cannot be answered 202 any more."""
        if not self.done.done():
            self.done.set_exception(LogUnavailableError(_DETAIL, retry_after=_RETRY_AFTER))


class _Queued(NamedTuple):
    record: Record
    ticket: Ticket


class _Topic:
    """One topic's partitions that have something queued or under way."""

    __slots__ = ("lanes", "name", "sticky")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: dict[int, _Lane] = {}
        self.sticky = 0
        """Where records without a key go until the next batch leaves from there."""


class _Lane:
    """One partition's queue."""

    __slots__ = ("in_flight", "partition", "scheduled", "topic", "waiting")

    def __init__(self, topic: _Topic, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Queued] = deque()
        self.in_flight = 0
        self.scheduled = False


class Publisher:
    """Publishes requests' records; bounded by the budget and by a deadline."""

    def __init__(
        self, log: Log, budget: Budget, *, delivery_timeout: float, batches_in_flight: int
    ) -> None:
        """`delivery_timeout` in seconds; `batches_in_flight` of one partition."""
        self._log = log
        self._budget = budget
        self._delivery_timeout = delivery_timeout
        self._batches_in_flight = batches_in_flight
        self._topics: dict[str, _Topic] = {}
        self._tickets: deque[Ticket] = deque()
        self._group = asyncio.TaskGroup()
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def publish(self, records: Sequence[tuple[Pipeline, Record]]) -> None:
        """Returns when Kafka has every record; `run` must be running.

        Raises LogUnavailableError, or BusyError before anything is queued.
        """
        if not self._log.connected_once:
            raise LogUnavailableError("No broker has been reached yet.", retry_after=_RETRY_AFTER)
        self._budget.take(sum(record.size for _, record in records))
        done: asyncio.Future[None] = self._loop.create_future()
        ticket = Ticket(done, len(records), self._loop.time() + self._delivery_timeout)
        self._tickets.append(ticket)
        for pipeline, record in records:
            lane = self._lane(pipeline, record.key)
            lane.waiting.append(_Queued(record, ticket))
            if not lane.scheduled:
                self._schedule(lane)
        await done

    async def run(self) -> None:
        """Sends, and fails what is past its deadline, for ever; a supervised task."""
        async with self._group:
            while True:
                await asyncio.sleep(_SWEEP)
                self._sweep(self._loop.time())

    async def flush(self) -> None:
        """Waits until nothing is queued or under way."""
        while self._topics:
            self._idle.clear()
            await self._idle.wait()

    def _lane(self, pipeline: Pipeline, key: bytes | None) -> _Lane:
        topic = self._topics.get(pipeline.topic)
        if topic is None:
            topic = self._topics[pipeline.topic] = _Topic(pipeline.topic)
        if pipeline.partitions == 1:
            partition = 0
        elif key is None:
            partition = topic.sticky % pipeline.partitions
        else:
            partition = self._log.partition(key, pipeline.partitions)
        lane = topic.lanes.get(partition)
        if lane is None:
            lane = topic.lanes[partition] = _Lane(topic, partition)
        return lane

    def _schedule(self, lane: _Lane) -> None:
        """Sends at the end of this turn of the loop, so that all that arrived in it go together."""
        if lane.in_flight < self._batches_in_flight:
            lane.scheduled = True
            self._loop.call_soon(self._launch, lane)

    def _launch(self, lane: _Lane) -> None:
        lane.scheduled = False
        batch, queued = self._collect(lane)
        if not queued:
            self._retire(lane)
            return
        lane.topic.sticky = lane.partition + 1
        lane.in_flight += 1
        self._group.create_task(self._send(lane, batch, queued))

    def _retire(self, lane: _Lane) -> None:
        """Forgets a lane that has nothing to do, and its topic with the last one."""
        if lane.waiting or lane.in_flight or lane.scheduled:
            return
        lane.topic.lanes.pop(lane.partition, None)
        if not lane.topic.lanes:
            self._topics.pop(lane.topic.name, None)
        if not self._topics:
            self._idle.set()

    def _collect(self, lane: _Lane) -> tuple[Batch, list[_Queued]]:
        """As many records as one batch takes; those of requests that failed are dropped."""
        batch, queued = self._log.batch(), []
        waiting = lane.waiting
        while waiting:
            head = waiting[0]
            if head.ticket.done.done():
                self._budget.give(head.record.size)
            elif batch.append(head.record):
                queued.append(head)
            else:
                break
            waiting.popleft()
        return batch, queued

    async def _send(self, lane: _Lane, batch: Batch, queued: list[_Queued]) -> None:
        started = self._loop.time()
        try:
            await self._log.send(batch, lane.topic.name, lane.partition)
        except LogError as error:
            metrics.BATCH_FAILURES.inc()
            where = {"topic": lane.topic.name, "partition": lane.partition}
            logger.warning("a batch was not acknowledged: %s", error, extra=where)
            for _, ticket in queued:
                ticket.fail()
        else:
            metrics.BATCHES.inc()
            metrics.BATCH_RECORDS.observe(len(queued))
            metrics.BATCH_SECONDS.observe(self._loop.time() - started)
            for _, ticket in queued:
                ticket.acknowledge()
        finally:
            lane.in_flight -= 1
            self._budget.give(sum(record.size for record, _ in queued))
        self._sweep(0.0)
        if lane.waiting:
            self._schedule(lane)
        else:
            self._retire(lane)

    def _sweep(self, now: float) -> None:
        """Tickets have one timeout, so they are in the order of their deadlines."""
        tickets = self._tickets
        while tickets and (tickets[0].done.done() or tickets[0].deadline <= now):
            ticket = tickets.popleft()
            if not ticket.done.done():
                metrics.DELIVERY_TIMEOUTS.inc()
                ticket.fail()
