"""The registry's tail: every pod reads the whole registry at start and hears of changes at once.

It never shows an incomplete, absent or older registry: what was complete once stays in use until a
newer complete one has been read, so a lost or half-written topic unlearns nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from argus_contract import registry
from argus_contract.names import TenantId
from argus_contract.registry import Marker, TenantDocument

logger = logging.getLogger(__name__)

Documents = Mapping[TenantId, TenantDocument]
Listener = Callable[[Documents], None]

_MARKER: Final = registry.MARKER_KEY.encode()
_POLL_MS: Final = 1_000
_RETRY_S: Final = 1.0
_START_TIMEOUT_S: Final = 30.0


class InconsistentRegistryError(Exception):
    """A marker counts other documents than were read: the topic has to be read again."""


class Replica:
    """A copy of the registry, built record by record; no I/O."""

    def __init__(self) -> None:
        self.documents: dict[TenantId, TenantDocument] = {}
        self.marker: Marker | None = None

    @property
    def complete(self) -> bool:
        """Whether the last marker counts just the documents that are here."""
        return self.marker is not None and self.marker.tenants == len(self.documents)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Takes one record; older revisions and records that are not ours change nothing."""
        name = (key or b"").decode("utf-8", "replace")
        try:
            if name == registry.MARKER_KEY:
                self._mark(value)
            elif value is None:
                self.documents.pop(TenantId(name), None)
            else:
                self._learn(name, registry.decode_document(value))
        except msgspec.DecodeError as error:
            logger.error("unreadable registry record", extra={"key": name, "reason": str(error)})

    def _mark(self, value: bytes | None) -> None:
        if value is None:
            return
        marker = registry.decode_marker(value)
        if self.marker is None or marker.revision >= self.marker.revision:
            self.marker = marker

    def _learn(self, name: str, document: TenantDocument) -> None:
        known = self.documents.get(document.id)
        if name == document.id and (known is None or document.revision >= known.revision):
            self.documents[document.id] = document


class RegistryTail:
    """Follows the registry topic; `run` is a supervised task, the rest is read on its loop."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        """`options` are those of `argus_runtime.kafka.options`."""
        self._options = options
        self._partition = TopicPartition(topic, 0)
        self._listeners: list[Listener] = []
        self._shown: Documents | None = None
        self._revision = 0

    @property
    def snapshot(self) -> Documents | None:
        """The newest complete registry, None before the first; it is never changed in place."""
        return self._shown

    def subscribe(self, listener: Listener) -> None:
        """Calls `listener` on the loop with each new snapshot, and at once if there is one."""
        self._listeners.append(listener)
        if self._shown is not None:
            listener(self._shown)

    async def run(self) -> None:
        """Follows the topic for ever, from its beginning again whenever that is needed."""
        while True:
            try:
                await self._follow()
            except (KafkaError, InconsistentRegistryError, TimeoutError, OSError) as error:
                logger.warning("the registry is read again", extra={"reason": repr(error)})
            await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await consumer.start()
                end = await self._rewind(consumer)
            await self._read(consumer, end)
        finally:
            await consumer.stop()

    async def _rewind(self, consumer: AIOKafkaConsumer) -> int:
        """Puts the consumer at the topic's beginning and gives the log's end."""
        if self._partition.topic not in await consumer.topics():
            raise InconsistentRegistryError(f"topic {self._partition.topic} does not exist yet")
        consumer.assign([self._partition])
        start = await consumer.beginning_offsets([self._partition])
        end = await consumer.end_offsets([self._partition])
        consumer.seek(self._partition, start[self._partition])
        last: int = end[self._partition]
        return last

    async def _read(self, consumer: AIOKafkaConsumer, end: int) -> None:
        replica = Replica()
        live = False
        while True:
            fetched = await consumer.getmany(self._partition, timeout_ms=_POLL_MS)
            for record in fetched.get(self._partition, ()):
                replica.apply(record.key, record.value)
                if record.offset >= end and record.key == _MARKER and not replica.complete:
                    raise InconsistentRegistryError(
                        "the marker counts other tenants than were read"
                    )
            caught_up = await consumer.position(self._partition) >= end
            live = live or (caught_up and self._succeeds(replica))
            if live:
                self._show(replica)

    def _succeeds(self, replica: Replica) -> bool:
        """Whether this copy is whole and not older than what is shown."""
        marker = replica.marker
        return replica.complete and marker is not None and marker.revision >= self._revision

    def _show(self, replica: Replica) -> None:
        if replica.marker is not None:
            self._revision = max(self._revision, replica.marker.revision)
        if self._shown == replica.documents:
            return
        shown = dict(replica.documents)
        self._shown = shown
        for listener in self._listeners:
            listener(shown)
