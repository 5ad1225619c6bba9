"""The value of a Kafka record: the client's event with what the edge fixed about it.

    {"v":1,"id":"…","time":…,"received":…,"event":{…the client's own bytes…}}

`id`, `time` and `received` are fixed before the first send, so a retry writes the same event again.
Times are microseconds since the epoch. `value` is present where the edge derived it.
"""

from typing import Final

import msgspec

from argus_contract.events import ABSENT

VERSION: Final = 1


class Body(msgspec.Struct, gc=False):
    """What the stream reads of the client's event; the edge has already judged it."""

    event: str
    distinct_id: str | None = None
    session_id: str | None = None
    value: float | None = None
    properties: msgspec.Raw = ABSENT


class Envelope(msgspec.Struct, gc=False):
    """A decoded record value; `time` and `received` in microseconds since the epoch."""

    v: int
    id: str
    time: int
    received: int
    event: Body
    value: float | None = None

    @property
    def effective_value(self) -> float | None:
        """The event's number: its own, else the one that the edge derived."""
        return self.value if self.event.value is None else self.event.value


decode: Final = msgspec.json.Decoder(Envelope).decode
"""Decodes a record value; raises msgspec.DecodeError for what is no envelope."""
