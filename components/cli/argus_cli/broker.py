"""Kafka's errors as errors for people.

Told where Kafka is asked, and never around what a caller does in between: a database that does not
answer raises the same TimeoutError and OSError, and is not Kafka.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from argus_cli.errors import UnreachableError


@contextmanager
def asking(bootstrap: str) -> Iterator[None]:
    """Around calls to Kafka alone; raises UnreachableError where they fail."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise UnreachableError(f"Kafka at {bootstrap}", error) from error
