"""Opening partitions: where SQL says that reading goes on, held against what the log still holds.

SQL's offset is never overruled by the log. A log that begins later has lost records, which are
counted; one that ends earlier is not the log that was read, and its partition is halted in SQL: the
log may grow beyond the offset, or another process take over, and it would still be another log.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from argus_stream.errors import BrokerError, HaltedError, StoreError
from argus_stream.health import Watch
from argus_stream.partitions import Partitions
from argus_stream.ports import Bounds, Ledger, Offsets
from argus_stream.sources import Lease, Source

logger = logging.getLogger(__name__)

LOOP: Final = "opening"
HALT_SECONDS: Final = 30.0
"""When to ask again whether a halted partition was resumed."""
_PERIOD_SECONDS: Final = 0.25
_ABSENT: Final = "the topic is not there, or without a leader"


class Opener:
    """Opens what is due; the only one that makes leases."""

    def __init__(
        self,
        partitions: Partitions,
        offsets: Offsets,
        ledger: Ledger,
        watch: Watch,
        opened: Callable[[Lease], None],
    ) -> None:
        """`opened` is called, on the loop, with each new lease."""
        self._partitions = partitions
        self._offsets = offsets
        self._ledger = ledger
        self._watch = watch
        self._opened = opened
        self._changed = asyncio.Event()
        partitions.subscribe(self._changed.set)

    async def run(self) -> None:
        """Opens partitions for ever."""
        while True:
            self._watch.step(LOOP)
            self._changed.clear()
            due = self._partitions.due()
            if due:
                await self._open_all(due)
            try:
                async with asyncio.timeout(_PERIOD_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _open_all(self, due: list[Source]) -> None:
        try:
            bounds = await self._offsets.bounds(due)
        except BrokerError as error:
            for source in due:
                self._partitions.postpone(source, str(error))
            return
        for source in due:
            found = bounds.get(source)
            if found is None:
                self._partitions.postpone(source, _ABSENT)
            else:
                await self._open(source, found)

    async def _open(self, source: Source, log: Bounds) -> None:
        self._watch.step(LOOP)
        try:
            offset = await self._ledger.open_partition(source, log.start)
        except HaltedError as error:
            self._partitions.stop(source, str(error), HALT_SECONDS)
            return
        except StoreError as error:
            self._partitions.postpone(source, str(error))
            return
        if offset > log.end and not await self._reaches(source, offset):
            return
        lease = self._partitions.opened(source, offset)
        if lease is not None:
            names = {"topic": source.topic, "partition": source.partition, "offset": offset}
            logger.info("partition opened", extra=names)
            self._opened(lease)

    async def _reaches(self, source: Source, offset: int) -> bool:
        """Whether the log, asked again, reaches an offset beyond the end that it had before.

        A predecessor may have stored records that came after we first asked. If the log still ends
        before them, it is not the log that was read.
        """
        try:
            log = (await self._offsets.bounds([source])).get(source)
        except BrokerError as error:
            self._partitions.postpone(source, str(error))
            return False
        if log is None:
            self._partitions.postpone(source, _ABSENT)
            return False
        if offset > log.end:
            await self._halt(source, _other_log(source, log.end, offset))
            return False
        return True

    async def _halt(self, source: Source, reason: str) -> None:
        try:
            await self._ledger.halt_partition(source, reason)
        except StoreError as error:
            self._partitions.postpone(source, str(error))
        else:
            self._partitions.stop(source, reason, HALT_SECONDS)


def _other_log(source: Source, end: int, offset: int) -> str:
    return (
        f"the log ends at {end}, before offset {offset}, up to which it was read: the topic was "
        "made anew, or brokers have lost its end. What it holds before that offset cannot be told "
        "from what was stored. Delete the pipeline and apply it again, which makes a new topic; "
        "or, to give up what is before the offset, SELECT argus.resume_partition("
        f"'{source.topic}', {source.partition}) as the database's owner"
    )
