"""The stream's life, after uvicorn's manner: startup, main loop, shutdown.

Every loop is a task of one group: the death of one ends the process, logged. Shutdown stops the
reader first, so that the batch in hand is the last, stores it, and gives the partitions away.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from argus_contract.names import STREAM_GROUP, TenantId
from argus_contract.registry import TenantDocument
from argus_contract.states import LETTERS
from argus_runtime import database, kafka, lifecycle, ops, redis
from argus_runtime.registry import RegistryTail

from argus_stream import metrics
from argus_stream.adapters.consumer import KafkaLog
from argus_stream.adapters.offsets import KafkaOffsets
from argus_stream.adapters.producer import KafkaPost
from argus_stream.adapters.redis import RedisCounters
from argus_stream.adapters.timescale import TimescaleLedger, TimescaleStore
from argus_stream.backoff import Backoff
from argus_stream.batch import Limits, Pending
from argus_stream.consume import Reader
from argus_stream.count import LiveCounting
from argus_stream.errors import BrokerError, StreamError
from argus_stream.guard import Guards, Rule
from argus_stream.health import Watch
from argus_stream.letters import Letters
from argus_stream.membership import Membership
from argus_stream.mirror import Mirror
from argus_stream.opening import Opener
from argus_stream.partitions import Partitions
from argus_stream.ports import OutboxEntry, Outcome
from argus_stream.report import Reporter
from argus_stream.settings import StreamSettings
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Route, Source
from argus_stream.store import Writer
from argus_stream.trial import Trials

logger = logging.getLogger(__name__)

_CLIENT: Final = "argus-stream"
_OFFSETS_TIMEOUT: Final = 5.0
_COUNT_GRACE: Final = 2.0


class _Client(Protocol):
    """A Kafka client, as far as starting and stopping it goes."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Service:
    """One stream process, wired; `run` is its life."""

    def __init__(self, settings: StreamSettings) -> None:
        """Makes every part; connects nothing. Needs a running loop."""
        self._settings = settings
        options = kafka.options(settings.kafka, _CLIENT)
        self._log = KafkaLog(options)
        self._offsets = KafkaOffsets(options, STREAM_GROUP, _OFFSETS_TIMEOUT)
        self._post = KafkaPost(options, settings.letter_timeout)
        self._store = TimescaleStore(storing_options(settings))
        self._ledger = TimescaleLedger(
            database.connect_options(settings.database, _CLIENT), settings.store.connections
        )
        self._redis = redis.connect(settings.redis)
        self._registry = RegistryTail(options, settings.registry_topic)
        self._wire()

    def _wire(self) -> None:
        settings = self._settings
        clock = time.monotonic
        backoff = Backoff(settings.store.first_delay, settings.store.most_delay)
        self._watch = Watch(settings.stuck_after, clock)
        self._partitions = Partitions(backoff, clock)
        self._pending = Pending(_limits(settings), clock)
        self._reader = Reader(self._log, self._pending, self._partitions, self._watch)
        self._counting = LiveCounting(
            RedisCounters(self._redis, settings.redis.timeout * 5),
            self._ledger,
            backoff,
            self._watch,
        )
        self._mirror = Mirror(
            self._offsets,
            self._ledger,
            self._partitions,
            self._watch,
            clock,
            self._pending.unsettled,
        )
        self._reporter = Reporter(self._ledger, self._partitions, self._watch, clock)
        self._opener = Opener(
            self._partitions, self._offsets, self._ledger, self._watch, self._opened
        )
        self._letters = Letters(
            self._post, self._ledger, settings.letter_patience, self._letters_done
        )
        guard = settings.guard
        guards = Guards(Rule(guard.window, guard.ratio, guard.least, guard.run))
        self._writer = Writer(
            self._pending,
            self._store,
            self._letters,
            guards,
            Trials(self._store, guards, self._partitions, ratio=guard.ratio, interval=guard.probe),
            self._partitions,
            backoff,
            self._watch,
            self._settled,
        )
        self._membership = Membership(
            self._ledger,
            self._own,
            self._watch,
            interval=settings.membership.interval,
            ttl=settings.membership.ttl,
        )

    def _own(self, routes: Mapping[Source, Route]) -> None:
        self._partitions.own(routes)
        self._counting.keep(routes.keys())

    def _opened(self, lease: Lease) -> None:
        self._counting.opened(lease)
        self._mirror.note(lease.source, lease.next)

    def _settled(self, piece: Slice, outcome: Outcome) -> None:
        self._mirror.note(piece.lease.source, piece.end)
        self._counting.submit(piece.lease, OutboxEntry(piece.start, piece.end, outcome.deltas))
        _measure(piece, outcome)

    def _letters_done(self, topic: str, failure: str | None) -> None:
        self._partitions.letters_done(topic, failure and f"{LETTERS}: {failure}")

    @property
    def held(self) -> Collection[Source]:
        """The partitions that this process reads now."""
        return self._partitions.held().keys()

    @property
    def states(self) -> Mapping[str, int]:
        """How many of this process's partitions are open, waiting, guarded, stopped."""
        return self._partitions.count()

    def ready(self) -> str | None:
        """What is missing before records flow, in words."""
        if self._registry.snapshot is None:
            return "the registry has not been read yet"
        if not self._membership.joined:
            return "the database has not been reached yet"
        return None

    async def run(self, stop: asyncio.Event) -> None:
        """Streams until `stop` is set, then finishes what it holds; serves the ops port."""
        async with ops.serve(self._settings.ops, live=self._watch.stuck, ready=self.ready):
            await self.stream(stop)

    async def stream(self, stop: asyncio.Event) -> None:
        """What `run` does, without the ops port."""
        async with AsyncExitStack() as stack:
            if await self._startup(stack, stop):
                await self._main_loop(stop)

    async def _startup(self, stack: AsyncExitStack, stop: asyncio.Event) -> bool:
        """Connects what has to be connected; whether it came to that before `stop`."""
        stack.push_async_callback(self._redis.aclose)
        await self._ledger.open()
        stack.push_async_callback(self._ledger.close)
        stack.callback(self._store.discard)
        stack.push_async_callback(self._letters.close)
        clients: tuple[_Client, ...] = (self._log, self._offsets, self._post)
        for client in clients:
            stack.push_async_callback(client.stop)
            if not await _connect(client.start, stop):
                return False
        return True

    async def _main_loop(self, stop: asyncio.Event) -> None:
        self._registry.subscribe(self._learn)
        async with asyncio.TaskGroup() as group:
            loops = {
                name: group.create_task(loop, name=name)
                for name, loop in {
                    "registry": self._registry.run(),
                    "membership": self._membership.run(),
                    "opener": self._opener.run(),
                    "reader": self._reader.run(),
                    "writer": self._writer.run(),
                    "mirror": self._mirror.run(),
                    "reporter": self._reporter.run(),
                    "counting": self._counting.run(),
                }.items()
            }
            try:
                await stop.wait()
                await self._shutdown(loops)
            finally:
                await lifecycle.end(*loops.values())

    def _learn(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        self._membership.learn(documents)

    async def _shutdown(self, loops: Mapping[str, "asyncio.Task[None]"]) -> None:
        """Stores the last batch, shows its offsets, and leaves; nothing here may take long."""
        logger.info("shutting down")
        await lifecycle.end(loops["reader"], loops["opener"], loops["registry"])
        self._pending.close()
        await asyncio.wait({loops["writer"]}, timeout=self._settings.grace)
        await lifecycle.end(
            loops["writer"],
            loops["membership"],
            loops["mirror"],
            loops["reporter"],
            loops["counting"],
        )
        await self._within("the last commit", _OFFSETS_TIMEOUT, self._mirror.show())
        await self._within("leaving", _OFFSETS_TIMEOUT, self._membership.leave())
        await self._within("the live counters", _COUNT_GRACE, self._counting.settle())

    @staticmethod
    async def _within(what: str, seconds: float, work: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except (TimeoutError, StreamError) as error:
            logger.warning("not finished", extra={"what": what, "reason": repr(error)})


def storing_options(settings: StreamSettings) -> dict[str, Any]:
    """What the storing connection is given beside the usual: how long it may wait for others."""
    options = database.connect_options(settings.database, _CLIENT)
    options["server_settings"] = options["server_settings"] | {
        "lock_timeout": f"{round(settings.store.lock_timeout * 1000)}ms",
        "statement_timeout": f"{round(settings.store.statement_timeout * 1000)}ms",
    }
    return options


def _limits(settings: StreamSettings) -> Limits:
    batch = settings.batch
    return Limits(batch.records, batch.bytes, batch.linger, batch.eager)


async def _connect(start: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    """Tries until it works; whether it did before `stop`."""
    backoff = Backoff(0.5, 5.0)
    failures = 0
    while not stop.is_set():
        try:
            await start()
        except BrokerError as error:
            failures += 1
            logger.warning("Kafka does not answer", extra={"reason": str(error)})
            await asyncio.sleep(backoff.delay(failures))
        else:
            return True
    return False


def _measure(piece: Slice, outcome: Outcome) -> None:
    for name, count in (
        ("stored", outcome.stored),
        ("duplicate", outcome.duplicate),
        ("dead_lettered", len(piece.letters)),
        ("skipped", piece.skipped),
    ):
        if count:
            metrics.RECORDS.labels(name).inc(count)
    if piece.records:
        metrics.AGE_SECONDS.observe(max(0.0, time.time() - piece.records[0].timestamp / 1000))
