"""A record of a pipeline's topic as `argus tail` shows it. Pure.

What the stream will make of it is not known yet: an accepted event may still be too old, or known.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from argus_contract import envelope, headers, storable
from argus_contract.events import ABSENT
from argus_contract.headers import Header
from argus_contract.times import rfc3339

from argus_cli.render_letters import plain

_CLOCK: Final = slice(11, 23)
"""Of an RFC 3339 time: hours to milliseconds."""
_PROPERTIES: Final = 160
"""Longest short form of properties, in characters."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One record; `refusal` is the code with which ingest refused it, if it did.

    `received` is in microseconds since the epoch. `found` is None for what is no envelope.
    """

    pipeline: str
    place: str
    received: int
    found: envelope.Envelope | None
    event: str
    refusal: str = ""
    error: str = ""
    replay_of: str = ""

    def line(self) -> str:
        """One line for people; safe to print whatever the client wrote."""
        moment = str(_moment(self.received))[_CLOCK]
        who = "" if self.found is None else (self.found.event.distinct_id or "-")
        head = f"{moment}  {self.pipeline}  {plain(self.event or '?')}  {plain(who)}".rstrip()
        if self.refusal:
            return f"{head}  REJECTED {plain(self.refusal)}: {plain(self.error)}"
        mark = "  (replay)" if self.replay_of else ""
        return f"{head}{mark}  {plain(self._properties())}".rstrip()

    def document(self) -> str:
        """One line of JSON."""
        said: dict[str, Any] = {
            "pipeline": self.pipeline,
            "place": self.place,
            "received": _moment(self.received),
            "event": self.event or None,
        }
        if self.found is not None:
            body = self.found.event
            said |= {
                "id": self.found.id,
                "time": _moment(self.found.time),
                "distinct_id": body.distinct_id,
                "session_id": body.session_id,
                "value": self.found.effective_value,
                "properties": _decoded(body.properties),
            }
        if self.refusal:
            said |= {"rejected": self.refusal, "error": self.error}
        if self.replay_of:
            said["replay_of"] = self.replay_of
        return json.dumps(said, ensure_ascii=False)

    def _properties(self) -> str:
        if self.found is None:
            return ""
        properties = _decoded(self.found.event.properties)
        if not isinstance(properties, dict):
            return ""
        text = " ".join(f"{name}={_short(value)}" for name, value in properties.items())
        return text if len(text) <= _PROPERTIES else text[: _PROPERTIES - 1] + "…"


def seen(
    pipeline: str, place: str, value: bytes | None, written: Iterable[Header], timestamp: int
) -> Sighting:
    """The record at `place` with these headers, produced at `timestamp`, in milliseconds."""
    fields = dict(written)

    def text(header: str) -> str:
        return fields.get(header, b"").decode("utf-8", "replace")

    found, fault = _found(value or b"") if headers.REJECT not in fields else (None, "")
    refusal = text(headers.REJECT) or ("unreadable" if found is None else "")
    return Sighting(
        pipeline=pipeline,
        place=place,
        received=timestamp * 1000 if found is None else found.received,
        found=found,
        event=text(headers.EVENT) if found is None else found.event.event,
        refusal=refusal,
        error=text(headers.ERROR) or fault,
        replay_of=text(headers.REPLAY_OF),
    )


def _found(value: bytes) -> tuple[envelope.Envelope | None, str]:
    """The envelope, or why it is none."""
    try:
        return envelope.decode(value), ""
    except storable.UNDECODABLE as error:
        return None, storable.undecodable(value, error).message


def _decoded(properties: msgspec.Raw) -> Any:
    if bytes(properties) == bytes(ABSENT):
        return None
    try:
        return msgspec.json.decode(properties)
    except storable.UNDECODABLE:
        return bytes(properties).decode("utf-8", "replace")


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _moment(micros: int) -> str | int:
    try:
        return rfc3339(micros)
    except OverflowError:
        return micros
