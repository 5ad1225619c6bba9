"""Rows for `make bench-storage`, as the stream stages the events that the load sends. Pure."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import cycle
from struct import Struct
from typing import Final

import msgspec
from argus_stream import copyrows

from bench import events
from bench.variants import Variant

_COLLECTED: Final = timedelta(milliseconds=300)
"""In what time a batch's rows were received."""
_UNDERWAY: Final = timedelta(milliseconds=200)
"""How long an event may take from its client to ingest."""
_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = 1_000
"""In microseconds."""
_NULL: Final = 4
"""Bytes of a null field: its length, -1."""
_LENGTH: Final = Struct("!i")


class _Event(msgspec.Struct):
    event: str
    distinct_id: str
    session_id: str
    properties: msgspec.Raw


class Rows:
    """An endless supply of one partition's rows, each without its slice (copyrows.row)."""

    def __init__(self, variant: Variant, seed: int) -> None:
        self._variant = variant
        self._chance = random.Random(seed)  # noqa: S311  # variety, not a secret
        ends = events.variants(seed)
        self._events: Iterator[_Event] = cycle(
            msgspec.json.decode(b"{" + end.removeprefix(b'",'), type=_Event) for end in ends
        )
        self.made = 0
        """How many so far, and the next one's offset."""

    def batch(self, micros: int) -> Sequence[bytes]:
        """A transaction's rows, received until now, in microseconds since the epoch."""
        return [self._row(micros) for _ in range(self._variant.batch)]

    def _row(self, micros: int) -> bytes:
        variant, event, offset = self._variant, next(self._events), self.made
        self.made += 1
        received = micros - self._up_to(_COLLECTED)
        sent = received - self._up_to(variant.spread or _UNDERWAY)
        time = sent - sent % _MILLISECOND if variant.timed else received
        jsonb = variant.properties == "jsonb"
        row = copyrows.row(
            offset,
            self._id(time),
            time,
            received,
            not variant.timed,
            event.event,
            event.distinct_id,
            event.session_id,
            None,
            bytes(event.properties) if jsonb else None,
        )
        return row if jsonb else row[:-_NULL] + _text(bytes(event.properties))

    def _id(self, micros: int) -> bytes:
        """A UUIDv7 of that time, or a UUIDv4 (RFC 9562)."""
        bits = self._chance.getrandbits(128)
        version = 4
        if self._variant.ordered:
            bits = micros // _MILLISECOND << 80 | bits & (1 << 80) - 1
            version = 7
        bits = bits & ~(0xF << 76) | version << 76
        return (bits & ~(0x3 << 62) | 0x2 << 62).to_bytes(16)

    def _up_to(self, most: timedelta) -> int:
        return int(self._chance.random() * (most / _MICROSECOND))


def _text(text: bytes) -> bytes:
    """A field of type json or text."""
    return _LENGTH.pack(len(text)) + text
