"""Group commit: everything that waits for one partition goes to Kafka as one batch.

While a batch is under way the next records gather, so an idle edge waits for nothing and a busy one
pays for a batch, not for a request. A request is answered when all of its records are acknowledged,
and fails as a whole at its deadline or when one of its batches fails: the client then sends all of
it again, which is safe, because id and time tell a duplicate.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Final, Protocol

from argus_contract.records import Record

from argus_ingest import metrics
from argus_ingest.budget import Account, Budget
from argus_ingest.errors import LogUnavailableError
from argus_ingest.route import Bundle

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

    def extend(self, records: Sequence[Record]) -> int:
        """Appends records as long as they fit, and says how many did; the first always does."""


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
    """One request's wait for all of its records, and the bytes that it holds until then."""

    __slots__ = ("account", "deadline", "done", "left", "size")

    def __init__(
        self,
        done: "asyncio.Future[None]",
        account: Account,
        records: int,
        size: int,
        deadline: float,
    ) -> None:
        self.done = done
        self.account = account
        self.left = records
        """Records of which nobody knows yet what became of them."""
        self.size = size
        self.deadline = deadline

    def fail(self) -> None:
        """The request cannot be answered 202 any more."""
        if not self.done.done():
            self.done.set_exception(LogUnavailableError(_DETAIL, retry_after=_RETRY_AFTER))


class _Topic:
    """One topic's partitions that have something queued or under way."""

    __slots__ = ("lanes", "name", "sticky")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: dict[int, _Lane] = {}
        self.sticky = 0
        """Where records without a key go until the next batch leaves from there."""

    def lane(self, partition: int) -> "_Lane":
        """The partition's queue."""
        found = self.lanes.get(partition)
        if found is None:
            found = self.lanes[partition] = _Lane(self, partition)
        return found


class _Lane:
    """One partition's queue."""

    __slots__ = ("in_flight", "partition", "scheduled", "topic", "waiting")

    def __init__(self, topic: _Topic, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[tuple[Sequence[Record], Ticket]] = deque()
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
        self._ended = False
        self._loop = asyncio.get_running_loop()

    def publish(self, bundles: Collection[Bundle], account: Account) -> "asyncio.Future[None]":
        """Done when Kafka has every record; `run` must be running.

        Fails with LogUnavailableError. Raises that too, and BusyError, before anything is queued.
        """
        if self._ended or not self._log.connected_once:
            raise LogUnavailableError("There is no broker now.", retry_after=_RETRY_AFTER)
        records = size = 0
        for bundle in bundles:
            records += len(bundle.records)
            size += bundle.size
        self._budget.take(account, size)
        done: asyncio.Future[None] = self._loop.create_future()
        deadline = self._loop.time() + self._delivery_timeout
        ticket = Ticket(done, account, records, size, deadline)
        self._tickets.append(ticket)
        for bundle in bundles:
            self._queue(bundle, ticket)
        return done

    async def run(self) -> None:
        """Sends, and fails what is past its deadline, for ever; a supervised task.

        However it ends, nobody is left waiting.
        """
        try:
            async with self._group:
                while True:
                    await asyncio.sleep(_SWEEP)
                    self._sweep(self._loop.time())
        finally:
            self._ended = True
            self._sweep(inf)

    async def flush(self) -> None:
        """Waits until nothing is queued or under way."""
        while self._topics:
            self._idle.clear()
            await self._idle.wait()

    def _queue(self, bundle: Bundle, ticket: Ticket) -> None:
        pipeline = bundle.pipeline
        topic = self._topics.get(pipeline.topic)
        if topic is None:
            topic = self._topics[pipeline.topic] = _Topic(pipeline.topic)
        for partition, records in self._spread(topic, bundle.records, pipeline.partitions):
            lane = topic.lane(partition)
            lane.waiting.append((records, ticket))
            if not lane.scheduled:
                self._schedule(lane)

    def _spread(
        self, topic: _Topic, records: Sequence[Record], partitions: int
    ) -> Iterable[tuple[int, Sequence[Record]]]:
        """The records by partition, in their order."""
        if partitions == 1:
            return ((0, records),)
        spread: dict[int, list[Record]] = {}
        for record in records:
            key = record.key
            partition = (
                topic.sticky % partitions if key is None else self._log.partition(key, partitions)
            )
            spread.setdefault(partition, []).append(record)
        return spread.items()

    def _schedule(self, lane: _Lane) -> None:
        """Sends at the end of this turn of the loop, so that all that arrived in it go together."""
        if lane.in_flight < self._batches_in_flight:
            lane.scheduled = True
            self._loop.call_soon(self._launch, lane)

    def _launch(self, lane: _Lane) -> None:
        lane.scheduled = False
        if self._ended:
            return
        batch, tickets = self._collect(lane)
        if not tickets:
            self._retire(lane)
            return
        lane.topic.sticky = lane.partition + 1
        lane.in_flight += 1
        self._group.create_task(self._send(lane, batch, tickets))

    def _retire(self, lane: _Lane) -> None:
        """Forgets a lane that has nothing to do, and its topic with the last one."""
        if lane.waiting or lane.in_flight or lane.scheduled:
            return
        lane.topic.lanes.pop(lane.partition, None)
        if not lane.topic.lanes:
            self._topics.pop(lane.topic.name, None)
        if not self._topics:
            self._idle.set()

    def _collect(self, lane: _Lane) -> tuple[Batch, dict[Ticket, int]]:
        """As many records as one batch takes, and how many of them are whose.

        Those of requests that failed meanwhile are dropped.
        """
        batch = self._log.batch()
        tickets: dict[Ticket, int] = {}
        waiting = lane.waiting
        while waiting:
            records, ticket = waiting[0]
            if ticket.done.done():
                self._settle(ticket, len(records))
                waiting.popleft()
                continue
            taken = batch.extend(records)
            if taken:
                tickets[ticket] = tickets.get(ticket, 0) + taken
            if taken < len(records):
                waiting[0] = records[taken:], ticket
                break
            waiting.popleft()
        return batch, tickets

    async def _send(self, lane: _Lane, batch: Batch, tickets: dict[Ticket, int]) -> None:
        started = self._loop.time()
        acknowledged = False
        try:
            await self._log.send(batch, lane.topic.name, lane.partition)
            acknowledged = True
        except LogError as error:
            metrics.BATCH_FAILURES.inc()
            where = {"topic": lane.topic.name, "partition": lane.partition}
            logger.warning("a batch was not acknowledged: %s", error, extra=where)
        finally:
            lane.in_flight -= 1
            for ticket, records in tickets.items():
                if not acknowledged:
                    ticket.fail()
                self._settle(ticket, records)
        if acknowledged:
            metrics.BATCHES.inc()
            metrics.BATCH_RECORDS.observe(sum(tickets.values()))
            metrics.BATCH_SECONDS.observe(self._loop.time() - started)
        self._sweep(0.0)
        if lane.waiting:
            self._schedule(lane)
        else:
            self._retire(lane)

    def _settle(self, ticket: Ticket, records: int) -> None:
        """So many records of a request are done with, sent or not."""
        ticket.left -= records
        if ticket.left == 0:
            self._budget.give(ticket.account, ticket.size)
            if not ticket.done.done():
                ticket.done.set_result(None)

    def _sweep(self, now: float) -> None:
        """Tickets have one timeout, so they are in the order of their deadlines."""
        tickets = self._tickets
        while tickets and (tickets[0].done.done() or tickets[0].deadline <= now):
            ticket = tickets.popleft()
            if not ticket.done.done():
                metrics.DELIVERY_TIMEOUTS.inc()
                ticket.fail()
