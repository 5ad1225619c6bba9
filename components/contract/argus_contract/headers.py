"""Kafka record headers: what the stream must know without decoding the value.

Events carry `ID`, and `BY_ID` where only the id tells a duplicate. Rejects carry `REJECT` besides:
their value is the client's own bytes. Dead letters carry where they came from and why.
"""

from collections.abc import Iterable
from typing import Final

Header = tuple[str, bytes]

ID: Final = "argus-id"
"""UUID of the event or reject as text, fixed before the first send."""
BY_ID: Final = "argus-by-id"
"""Present (value `1`) where the client gave an id and no time: the ids table tells duplicates."""
RECEIVED: Final = "argus-received"
"""When the edge received a reject, in microseconds since the epoch, decimal."""
REJECT: Final = "argus-reject"
"""Reject code; the value is then raw bytes and no envelope."""
ERROR: Final = "argus-error"
"""Why, in words for people."""
EVENT: Final = "argus-event"
"""The event name of a reject, where it was legible."""
TRUNCATED: Final = "argus-truncated"
"""Present (value: the original size in bytes) where the value was cut."""

REPLAY_OF: Final = "argus-replay-of"
"""On a record that a replay published: the key of the first letter of what is tried again."""

REASON: Final = "argus-reason"
"""Reject code of a dead letter."""
STEP: Final = "argus-step"
"""Which step refused it."""
ATTEMPT: Final = "argus-attempt"
"""1 for a first dead letter, one more for each replay; a replayed record has the attempt it is."""
ROOT: Final = "argus-root"
"""On a dead letter of a replayed record: the key of the first letter of the same event."""
SOURCE_TOPIC: Final = "argus-source-topic"
SOURCE_PARTITION: Final = "argus-source-partition"
SOURCE_OFFSET: Final = "argus-source-offset"
TIME: Final = "argus-time"
"""When the dead letter was written, RFC 3339."""
TENANT: Final = "argus-tenant"
PIPELINE: Final = "argus-pipeline"


def get(headers: Iterable[Header], name: str) -> bytes | None:
    """The first header of this name, None if there is none."""
    return next((value for key, value in headers if key == name), None)


def letter_key(topic: str, partition: int, offset: int) -> bytes:
    """The Kafka key of a dead letter: its source, so that a copy is visible as the same letter."""
    return f"{topic}/{partition}/{offset}".encode()
