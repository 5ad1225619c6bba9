"""The registry's only writer: documents when they changed, and the marker that makes them whole.

It believes the topic, not its memory: before each write it has read the log to its end. It never
publishes a marker while a tenant that pods know of is missing, for a pod would take that tenant's
keys for unknown and its clients would throw events away.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from argus_contract import registry as contract
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Marker, TenantDocument
from argus_runtime.registry import Replica

from argus_operator import documents, metrics
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.errors import BusyError, RefusedError, UnavailableError
from argus_operator.topics import RETENTION_BYTES, RETENTION_MS, TopicSpec, TopicState, plan

logger = logging.getLogger(__name__)

_MARKER: Final = contract.MARKER_KEY.encode()
_POLL_MS: Final = 200
_FETCH_WAIT_MS: Final = 20
"""A broker answers one connection's requests in order: whatever follows a fetch waits for it."""


def topic_spec(name: str, min_insync: int) -> TopicSpec:
    """The registry's topic: compacted, often enough that a pod reads little at start."""
    return TopicSpec(
        name=TopicName(name),
        partitions=1,
        configs={
            "cleanup.policy": "compact",
            "min.insync.replicas": str(min_insync),
            "segment.ms": str(6 * 3_600_000),
            "min.cleanable.dirty.ratio": "0.1",
        },
    )


def unfit(spec: TopicSpec, state: TopicState) -> str | None:
    """Why a topic that the operator may not configure cannot be the registry; None if it can."""
    if state.partitions != spec.partitions:
        return f"topic {spec.name} has {state.partitions} partitions: the registry needs one"
    policy = state.configs.get("cleanup.policy", "compact")
    bounds = [state.configs.get(name, "-1") for name in (RETENTION_MS, RETENTION_BYTES)]
    if policy == "compact" or (policy == "delete" and all(bound == "-1" for bound in bounds)):
        return None
    return (
        f"topic {spec.name} has cleanup.policy={policy}, which would forget tenants: ask its owner "
        "for cleanup.policy=compact"
    )


class RegistryLog:
    """The compacted topic, read to its end and written to; opened on first use."""

    def __init__(
        self,
        options: Mapping[str, Any],
        spec: TopicSpec,
        admin: KafkaAdmin,
        timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`options` are those of `argus_runtime.kafka.options`; `timeout` in seconds for a call."""
        self._options = options
        self._spec = spec
        self._admin = admin
        self._timeout = timeout
        self._clock = clock
        self._began = clock()
        self._partition = TopicPartition(spec.name, 0)
        self._lock = asyncio.Lock()
        self._replica = Replica()
        self._reading_into = Replica()
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._expected: set[TenantId] | None = None
        self._written: dict[TenantId, float] = {}
        self._revision = 0

    @property
    def documents(self) -> documents.Documents:
        """What the topic held when it was last read to its end."""
        return self._replica.documents

    def settled(self, tenant: TenantId, seconds: float) -> bool:
        """Whether the tenant's record was last written at least so long ago.

        What was written before this process began may have been written just then.
        """
        return self._clock() - self._written.get(tenant, self._began) >= seconds

    def expect(self, tenants: Iterable[TenantId]) -> None:
        """Says which tenants pods know of: no marker is published while one of them is missing.

        Before the first call none is published at all.
        """
        self._expected = set(tenants)

    async def load(self) -> None:
        """Makes sure that the log was read to its end once; raises UnavailableError."""
        if self._consumer is None:
            async with self._reading():
                pass

    async def publish(self, document: TenantDocument) -> bool:
        """Writes the document if it says something new, then the marker; whether it was new.

        Where nothing is new, Kafka is not asked: `mark` reads what others may have done to the log.
        Raises UnavailableError, BusyError where the marker has to wait for other tenants, and
        RefusedError for a document that Kafka would not take.
        """
        if self._consumer is not None and not self._news(document):
            return False
        documents.check_size(document)
        async with self._reading():
            new = not documents.same(self.documents.get(document.id), document)
            if new:
                numbered = msgspec.structs.replace(document, revision=self._next())
                await self._write(document.id, contract.encode(numbered))
            await self._mark(only_if_needed=True)
        return new

    async def retire(self, tenant: TenantId) -> bool:
        """Writes the tenant's tombstone if it has a document, then the marker; whether it had."""
        async with self._reading():
            held = tenant in self.documents
            if held:
                await self._write(tenant, None)
            if self._expected is not None:
                self._expected.discard(tenant)
            await self._mark(only_if_needed=True)
        return held

    async def mark(self) -> None:
        """Publishes the marker again; raises UnavailableError or BusyError."""
        async with self._reading():
            await self._mark(only_if_needed=False)

    async def close(self) -> None:
        """Ends both connections."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if consumer is not None:
            await consumer.stop()
        if producer is not None:
            await producer.stop()

    def _news(self, document: TenantDocument) -> bool:
        same = documents.same(self.documents.get(document.id), document)
        return not (same and self._marked and not self._missing())

    @property
    def _marked(self) -> bool:
        """Whether the last marker speaks for all that was written."""
        newest = max((d.revision for d in self.documents.values()), default=0)
        marker = self._replica.marker
        return self._replica.complete and marker is not None and marker.revision >= newest

    async def _mark(self, *, only_if_needed: bool) -> None:
        missing = self._missing()
        if missing:
            raise BusyError("RegistryIncomplete", f"the registry waits for: {', '.join(missing)}")
        if only_if_needed and self._marked:
            return
        marker = Marker(revision=self._next(), tenants=len(self.documents))
        await self._write(None, contract.encode(marker))
        metrics.REGISTRY_REVISION.set(marker.revision)
        metrics.REGISTRY_TENANTS.set(marker.tenants)

    def _missing(self) -> list[str]:
        if self._expected is None:
            return ["the first list of all tenants"]
        return sorted(self._expected - set(self.documents))

    def _next(self) -> int:
        """A revision above all that were ever written."""
        known = [self._revision, *(d.revision for d in self.documents.values())]
        if self._replica.marker is not None:
            known.append(self._replica.marker.revision)
        self._revision = max(round(self._clock() * 1000), max(known) + 1)
        return self._revision

    async def _write(self, tenant: TenantId | None, value: bytes | None) -> None:
        assert self._producer is not None, "written outside of _reading"  # noqa: S101
        key = _MARKER if tenant is None else tenant.encode()
        await self._producer.send_and_wait(self._spec.name, key=key, value=value, partition=0)
        self._replica.apply(key, value)
        if tenant is not None:
            self._written[tenant] = self._clock()
            logger.info("registry record", extra={"id": tenant, "gone": value is None})

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """The log read to its end, nobody else writing; starts anew after any trouble."""
        async with self._lock:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._open()
                    await self._catch_up()
                    yield
            except (KafkaError, OSError, TimeoutError) as error:
                await self.close()
                detail = f"{type(error).__name__} {error}".strip()
                metrics.DEPENDENCY_ERRORS.labels("kafka").inc()
                raise UnavailableError("KafkaUnavailable", f"registry: {detail}") from error
            except (UnavailableError, asyncio.CancelledError):
                await self.close()
                raise

    async def _open(self) -> None:
        if self._consumer is not None:
            return
        await self._make_topic()
        self._reading_into = Replica()
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        producer = AIOKafkaProducer(**self._options, acks="all")
        self._consumer, self._producer = consumer, producer
        await producer.start()
        await consumer.start()
        consumer.assign([self._partition])
        start = await consumer.beginning_offsets([self._partition])
        consumer.seek(self._partition, start[self._partition])

    async def _make_topic(self) -> None:
        """The topic as it shall be; where Kafka lets it not be made so, one that will do."""
        observed = (await self._admin.observe([self._spec.name])).get(self._spec.name)
        if observed is None or observed.readable:
            try:
                await self._admin.apply(plan(self._spec, observed))
            except RefusedError:
                if observed is None:
                    raise
            else:
                return
        problem = unfit(self._spec, observed)
        if problem is not None:
            raise RefusedError("RegistryUnsuitable", problem)

    async def _catch_up(self) -> None:
        consumer = self._consumer
        assert consumer is not None, "read before it was opened"  # noqa: S101
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        if await consumer.position(self._partition) > end:
            raise UnavailableError("RegistryReplaced", "the registry's topic was made anew")
        consumer.resume(self._partition)
        while await consumer.position(self._partition) < end:
            fetched = await consumer.getmany(self._partition, timeout_ms=_POLL_MS)
            for record in fetched.get(self._partition, ()):
                self._reading_into.apply(record.key, record.value)
        consumer.pause(self._partition)
        self._replica = self._reading_into
