"""A dead letter as its topic has it, and which letters a person asks for.

Pure. A letter's key is `topic/partition/offset` of the record that was refused: a copy that a crash
left behind has the same key. A letter of a record that a replay published names in its `root` the
key of the first letter of the same event, and counts the attempts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from argus_contract import headers
from argus_contract.routing import WILDCARD
from argus_contract.times import from_micros

from argus_cli.errors import BadInputError

_SPAN: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_KEY: Final = re.compile(r"([A-Za-z0-9._-]+)/([0-9]{1,10})/([0-9]{1,19})")
"""As `argus.store` takes the root of a replay: ASCII digits, and as many of them."""


class Key(NamedTuple):
    """Where the refused record lies: topic, partition, offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Key | None":
        """The key in `topic/partition/offset`, None for another text."""
        found = _KEY.fullmatch(text)
        return None if found is None else cls(found[1], int(found[2]), int(found[3]))


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `place` is its offset in the dead-letter topic, `value` what was refused."""

    key: Key
    place: int
    at: datetime
    fields: Mapping[str, bytes]
    """Its headers; of two of one name the first."""
    value: bytes

    def text(self, header: str) -> str:
        """A header as text, empty where it is absent."""
        return self.fields.get(header, b"").decode("utf-8", "replace")

    @property
    def reason(self) -> str:
        """The reject code."""
        return self.text(headers.REASON)

    @property
    def event(self) -> str:
        """The event's name, empty where it was not legible."""
        return self.text(headers.EVENT)

    @property
    def attempt(self) -> int:
        """1 for a first letter, one more for each replay."""
        return number(self.fields.get(headers.ATTEMPT), 6) or 1

    @property
    def root(self) -> Key:
        """The key of the first letter of the same event: its own, if this is it."""
        return Key.parse(self.text(headers.ROOT)) or self.key

    @property
    def truncated(self) -> bool:
        """Whether the value is not all that the client sent."""
        return headers.TRUNCATED in self.fields


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters: each condition that is given must hold, an empty one holds for all.

    `events` are names, or beginnings of names that end in `*`; times are those of the letters.
    """

    reasons: frozenset[str] = frozenset()
    events: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is asked for."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.events or named(letter.event, self.events))
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
        )


def named(event: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is this name, or ends in `*` and is how the name begins."""
    return any(
        event.startswith(pattern.removesuffix(WILDCARD))
        if pattern.endswith(WILDCARD)
        else event == pattern
        for pattern in patterns
    )


def moment(text: str, now: datetime) -> datetime:
    """The moment in RFC 3339, or as far before `now` as `90s`, `5m`, `2h`, `3d`, `1w` say.

    Raises BadInputError for another text, and for a time without its zone.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.tzinfo is None:
        raise BadInputError(
            f"{text!r} is no time: give one such as 2026-01-31T12:00:00Z, or how long ago, such as"
            " 90s, 5m, 2h, 3d or 1w"
        )
    return given.astimezone(UTC)


def number(text: bytes | None, digits: int) -> int | None:
    """A header's decimal number of at most so many digits, None for anything else."""
    return int(text) if text and len(text) <= digits and text.isdigit() else None


def written(timestamp: int) -> datetime:
    """The moment of a Kafka timestamp, in milliseconds since the epoch."""
    return from_micros(timestamp * 1000)
