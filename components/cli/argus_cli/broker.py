"""Kafka's errors as errors for people.

Told where Kafka is asked, and never around what a caller does in between: a database that does not
answer raises the same TimeoutError and OSError, and is not Kafka.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from argus_cli.errors import UnreachableError


@contextmanager
def asking(bootstrap: str) -> Iterator[None]:
    """Around calls to Kafka alone; raises UnreachableError where they fail."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise UnreachableError(f"Kafka at {bootstrap}", error) from error


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Stops a consumer, one that has only just started too.

    aiokafka awaits there a task of its start, after it has cancelled it: unless that has begun, it
    ends in a CancelledError, and the consumer's connections stay open.
    """
    await asyncio.sleep(0)
    await consumer.stop()
