"""Times between processes are integers: microseconds since 1970-01-01T00:00:00Z.

PostgreSQL's resolution, exact in JSON's integers, and free to compare; text is for people.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND: Final = 1_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400 * SECOND


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch; `moment` must be aware, else TypeError."""
    since = moment - EPOCH
    return since.days * _DAY + since.seconds * SECOND + since.microseconds


def from_micros(micros: int) -> datetime:
    """The aware datetime; raises OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=micros)


def rfc3339(micros: int) -> str:
    """`2026-01-31T12:00:00.000000Z`, for people and for headers."""
    return from_micros(micros).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
