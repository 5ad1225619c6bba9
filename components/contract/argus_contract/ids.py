"""Event ids: UUIDs, of version 7 where ARGUS makes them (RFC 9562, section 5.7)."""

import random
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Final

UUID_PATTERN: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
"""A UUID in its canonical form, as a regular expression."""
_TEXT: Final = re.compile(UUID_PATTERN)

_random_bits: Final = random.Random().getrandbits  # noqa: S311  # need not be unguessable
_VARIANT: Final = 0b10 << 62
_RANDOM: Final = ~(0b11 << 62)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form of 36 characters, in either case."""
    return _TEXT.fullmatch(text) is not None


def new_id(now_us: int) -> str:
    """A UUIDv7 for a time in microseconds since the epoch, in canonical lower case.

    Its 74 random bits come from a generator that the operating system seeds: no secret rests on
    an event's id, and a system call an event is a third of what decoding it costs.
    """
    digits = f"{_random_bits(76) & _RANDOM | _VARIANT:019x}"
    return f"{_prefix(now_us // 1000)}{digits[:3]}-{digits[3:7]}-{digits[7:]}"


def new_ids(now_us: int) -> Iterator[str]:
    """UUIDv7s without end for one moment, ascending: for many events at once.

    Their last 48 bits count up from a random start (RFC 9562, section 6.2, method 2).
    """
    head = new_id(now_us)[:-12]
    for node in count(_random_bits(47)):
        yield f"{head}{node:012x}"


@lru_cache(4)
def _prefix(milliseconds: int) -> str:
    """What the ids of one millisecond have in common: time and version."""
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def time_of(uuid: str) -> int | None:
    """The time inside a UUIDv7 in microseconds since the epoch, None for another version."""
    if uuid[14] != "7":
        return None
    return int(uuid[:8] + uuid[9:13], 16) * 1000
