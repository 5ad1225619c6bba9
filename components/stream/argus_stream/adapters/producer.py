"""The producer of dead letters: acks=all, micro-batched, not idempotent.

A copy of a letter has the same key and is the same letter, so nothing is gained by idempotence,
whose batches never expire in aiokafka and may jam a partition.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from argus_contract import sizes

from argus_stream.errors import BrokerError, LettersError
from argus_stream.ports import Mail

BATCH_BYTES: Final = sizes.MAX_EVENT
"""Less than any dead-letter topic's max.message.bytes, which bounds batches."""


class KafkaPost:
    """`argus_stream.ports.Post` on aiokafka."""

    def __init__(self, options: Mapping[str, Any], timeout: float) -> None:
        """`options` are those of `argus_runtime.kafka.options`; `timeout` bounds one delivery."""
        self._timeout = timeout
        self._producer = AIOKafkaProducer(
            **{**options, "request_timeout_ms": round(timeout * 1000)},
            acks="all",
            enable_idempotence=False,
            max_batch_size=BATCH_BYTES,
            max_request_size=sizes.MIB,
        )

    async def start(self) -> None:
        """Connects; raises BrokerError where no broker answers."""
        try:
            await self._producer.start()
        except KafkaError as error:
            raise BrokerError(repr(error)) from error

    async def stop(self) -> None:
        """Flushes and disconnects."""
        await self._producer.stop()

    async def deliver(self, topic: str, mail: Sequence[Mail]) -> None:
        """Hands all of it over, then waits for all acknowledgements."""
        try:
            async with asyncio.timeout(self._timeout):
                acknowledged = [
                    await self._producer.send(
                        topic, letter.value, key=letter.key, headers=letter.headers
                    )
                    for letter in mail
                ]
                await asyncio.gather(*acknowledged)
        except (KafkaError, TimeoutError, OSError) as error:
            raise LettersError(f"{topic}: {error!r}") from error
