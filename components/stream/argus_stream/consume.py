"""The reader: records out of Kafka into the batch that grows, and nothing else.

It alone touches the consumer, and decodes what it fetched before it lets anybody else run, so what
it fetched always belongs to the lease that it holds. What a batch has no room for is left where it
is.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from argus_contract.window import Window

from argus_stream.batch import Pending
from argus_stream.decode import decode
from argus_stream.errors import BrokerError, LogError, UnreadableError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Log
from argus_stream.sources import Lease, Record, Source
from argus_stream.validation import Validations

logger = logging.getLogger(__name__)

LOOP: Final = "read"
FETCH_RECORDS: Final = 1_000
"""Most records decoded in one go, so that the loop is held up for some milliseconds only."""
TRIAL_RECORDS: Final = 100
"""How many records a lease for trial reads."""
UNREADABLE_SECONDS: Final = 30.0
"""When to look again at a log that could not be parsed: its replicas may have been repaired."""
_WAIT_SECONDS: Final = 0.1
_FULL_SECONDS: Final = 0.02
_GAP_SECONDS: Final = 1.0


class Reader:
    """Follows the partitions that are held, and decodes what comes."""

    def __init__(self, log: Log, pending: Pending, partitions: Partitions, watch: Watch) -> None:
        self._log = log
        self._pending = pending
        self._partitions = partitions
        self._watch = watch
        self._validations = Validations()
        self._held: dict[Source, Lease | None] = {}
        self._version = -1
        self._ahead: dict[Lease, int] = {}
        self._looked = 0.0

    async def run(self) -> None:
        """Reads for ever."""
        while True:
            self._watch.step(LOOP)
            self._follow()
            if not self._held:
                await asyncio.sleep(_WAIT_SECONDS)
            else:
                await self._read()

    async def _wait_room(self) -> None:
        """Not for long: a topic that has no records yet may have room for some before that."""
        try:
            async with asyncio.timeout(_FULL_SECONDS):
                await self._pending.wait_room()
        except TimeoutError:
            pass

    def _follow(self) -> None:
        """Tells the consumer what is held now."""
        if self._version == self._partitions.version:
            return
        self._version = self._partitions.version
        held = self._partitions.held()
        if held.keys() != self._held.keys():
            self._log.assign(
                {source: None if lease is None else lease.next for source, lease in held.items()}
            )
        else:
            for source, lease in held.items():
                if lease is None:
                    self._log.pause(source)
                elif lease is not self._held[source]:
                    self._log.seek(source, lease.next)
        self._held = held
        self._validations.keep({source.topic for source in held})
        self._ahead.clear()

    async def _read(self) -> None:
        try:
            fetched = await self._log.fetch(self._shares, _WAIT_SECONDS)
        except LogError as error:
            self._lost(error)
        except BrokerError as error:
            logger.warning("cannot fetch", extra={"reason": str(error)})
            await asyncio.sleep(_WAIT_SECONDS)
        else:
            self._decode(fetched)
            await asyncio.sleep(0)  # what was fetched before comes without a turn of the loop
            if not fetched and not self._pending.room:
                await self._wait_room()
            if time.monotonic() - self._looked > _GAP_SECONDS:
                self._looked = time.monotonic()
                await self._find_gaps()

    def _shares(self, topics: Collection[str]) -> Mapping[str, int]:
        return self._pending.shares(topics, FETCH_RECORDS)

    def _lost(self, error: LogError) -> None:
        """What was fetched of the other partitions went with the error: it is fetched again."""
        for source, lease in self._held.items():
            if lease is None or not lease.live:
                continue
            if source not in error.sources:
                self._log.seek(source, lease.next)
            elif isinstance(error, UnreadableError):
                self._partitions.stop(source, _unreadable(lease, error), UNREADABLE_SECONDS)
            else:
                self._partitions.pause(lease, str(error))

    def _decode(self, fetched: Mapping[Source, Sequence[Record]]) -> None:
        now = time.time_ns() // 1000
        for source, records in fetched.items():
            lease = self._held.get(source)
            if lease is None or not lease.live:
                continue
            if lease.trial:
                records = records[:TRIAL_RECORDS]
                self._log.pause(source)
            piece = self._pending.slice_of(lease)
            pipeline = lease.route.pipeline
            decode(
                records,
                piece,
                Window.at(now, pipeline.window),
                self._validations.of(pipeline),
                suspect=lease.suspect_until > time.monotonic(),
            )
            lease.next = piece.end
            size = sum(len(record.value or b"") for record in records)
            self._pending.grown(source.topic, len(records), size)

    async def _find_gaps(self) -> None:
        """Counts what is at the end of a log and no record: a marker, or what compaction left.

        The consumer is past it. Believed the second time it is seen, so that a position that was
        moved by an error is not taken for a gap before the error arrives.
        """
        ahead: dict[Lease, int] = {}
        for source, lease in self._held.items():
            if lease is None or not lease.live or lease.trial:
                continue
            position = await self._log.position(source)
            if position <= lease.next:
                continue
            if self._ahead.get(lease) == position:
                self._pending.slice_of(lease).skip_to(position)
                lease.next = position
                self._pending.grown(source.topic, 0, 0)
            else:
                ahead[lease] = position
        self._ahead = ahead


def _unreadable(lease: Lease, error: UnreadableError) -> str:
    return (
        f"the log cannot be parsed from offset {lease.next} on ({error}). If a broker's disk is at "
        "fault, repair the replica; if a stranger wrote there, delete the records up to the next "
        "readable one (kafka-delete-records.sh), which counts them as lost. It is tried again "
        f"every {UNREADABLE_SECONDS:.0f} s"
    )
