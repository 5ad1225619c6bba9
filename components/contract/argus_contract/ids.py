"""Event ids: UUIDs, of version 7 where ARGUS makes them (RFC 9562, section 5.7)."""

import os
import re
from typing import Final

_TEXT: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form of 36 characters, in either case."""
    return _TEXT.fullmatch(text) is not None


def new_id(now_us: int) -> str:
    """A UUIDv7 for a time in microseconds since the epoch, in canonical lower case."""
    digits = f"{now_us // 1000:012x}{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def time_of(uuid: str) -> int | None:
    """The time inside a UUIDv7 in microseconds since the epoch, None for another version."""
    if uuid[14] != "7":
        return None
    return int(uuid[:8] + uuid[9:13], 16) * 1000
