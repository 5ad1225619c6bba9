"""Quotas: how many events a tenant may send in a day and in a month of UTC, and has sent.

Days are counted from 1970-01-01, months from January of the year 0, so that each is one integer.
Redis keeps both counts of a tenant in one string, `<day> <used> <month> <used>`, and only
`lua/token_bucket.lua` writes it: in the call that judges the request, by Redis's own clock.
"""

import re
from datetime import date
from typing import Final, NamedTuple

import msgspec

from argus_contract.times import SECOND

DAY: Final = 86_400 * SECOND
"""Microseconds of a day of UTC, which knows no leap seconds here."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FORM: Final = re.compile(rb"(\d{1,16}) (\d{1,16}) (\d{1,16}) (\d{1,16})")


def day_of(moment: int) -> int:
    """The day of a moment in microseconds since the epoch."""
    return moment // DAY


def month_of(moment: int) -> int:
    """The month of a moment in microseconds since the epoch, in the years 1 to 9999."""
    day = date.fromordinal(_EPOCH + day_of(moment))
    return day.year * 12 + day.month - 1


def day_ends(day: int) -> int:
    """The first moment of the day after it, in microseconds since the epoch."""
    return (day + 1) * DAY


def month_ends(month: int) -> int:
    """The first moment of the month after it, in microseconds since the epoch."""
    year, january = divmod(month + 1, 12)
    return (date(year, january + 1, 1).toordinal() - _EPOCH) * DAY


class Usage(NamedTuple):
    """What a tenant has sent: `daily` events in `day`, `monthly` in `month`."""

    day: int
    daily: int
    month: int
    monthly: int

    @classmethod
    def none(cls, now: int) -> "Usage":
        """Nothing yet, at a moment in microseconds since the epoch."""
        return cls(day_of(now), 0, month_of(now), 0)

    def at(self, now: int) -> "Usage":
        """What of it counts at `now`: nothing of a day or month that is over.

        The next one, as after a failover to a Redis whose clock is behind, goes on.
        """
        none = Usage.none(now)
        day = self[:2] if none.day <= self.day <= none.day + 1 else none[:2]
        month = self[2:] if none.month <= self.month <= none.month + 1 else none[2:]
        return Usage(*day, *month)

    def raised(self, floor: "Usage") -> "Usage":
        """With no less used than `floor` says of the same day and of the same month."""
        return Usage(
            self.day,
            max(self.daily, floor.daily) if floor.day == self.day else self.daily,
            self.month,
            max(self.monthly, floor.monthly) if floor.month == self.month else self.monthly,
        )


def parse(text: bytes) -> Usage | None:
    """The usage that Redis keeps; None of what is no such string, which is judged as no usage."""
    found = _FORM.fullmatch(text)
    return None if found is None else Usage(*map(int, found.groups()))


def render(usage: Usage) -> bytes:
    """The string that Redis keeps."""
    return b"%d %d %d %d" % usage


def raising(floor: Usage) -> bytes:
    """ARGV[1] of `lua/token_bucket.lua` with the usage's key as its only one: raises it to `floor`.

    For what was lost with a Redis or passed while it was away. A floor of a day or month that is
    not Redis's own now changes nothing of that one.
    """
    return msgspec.msgpack.encode(((), (), (), (0, 0), floor))
