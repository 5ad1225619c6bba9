"""Durations, sizes and times as people write them in a resource."""

import re
from datetime import UTC, datetime
from typing import Final

DURATION: Final = r"^[1-9][0-9]{0,4}[mhd]$"
SIZE: Final = r"^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti)?$"

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400}
_BYTES: Final = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_NUMBER: Final = re.compile(r"^([0-9]+)([A-Za-z]*)$")


def seconds(duration: str) -> int:
    """Seconds in `30m`, `24h` or `7d`; raises ValueError for anything else."""
    number, unit = _split(duration)
    if unit not in _SECONDS:
        raise ValueError(f"{duration!r} is no duration: use m, h or d")
    return number * _SECONDS[unit]


def size(written: int | str) -> int:
    """Bytes in `1073741824` or `1Gi`; raises ValueError for anything else."""
    if isinstance(written, int):
        return written
    number, unit = _split(written)
    if unit not in _BYTES:
        raise ValueError(f"{written!r} is no size: use Ki, Mi, Gi or Ti")
    return number * _BYTES[unit]


def in_words(count: int) -> str:
    """A size for people: `1.5 GiB`, `64 MiB`, `12 B`."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} B"


def instant(moment: datetime) -> str:
    """An aware time as Kubernetes writes it: `2026-01-31T12:00:00Z`, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _split(written: str) -> tuple[int, str]:
    match = _NUMBER.match(written)
    if match is None:
        raise ValueError(f"{written!r} is no number with a unit")
    return int(match[1]), match[2]
