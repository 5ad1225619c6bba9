"""Kafka records: all that is fixed about an event or a reject before it is first sent.

A retry of ours, and a resend of the client with the same id and time, write the same event again,
so the stream sees one event and a duplicate. Whoever replays what the edge once refused writes it
as the edge would.
"""

from collections.abc import Iterator
from typing import Final, final

from argus_contract import headers, splice
from argus_contract.headers import Header
from argus_contract.ids import time_of
from argus_contract.items import Accepted, Reject
from argus_contract.registry import Pipeline
from argus_contract.sizes import MAX_CLOCK_AHEAD_S
from argus_contract.times import SECOND, to_micros

_BY_ID: Final[Header] = (headers.BY_ID, b"1")
_AHEAD: Final = MAX_CLOCK_AHEAD_S * SECOND
_DRIFT: Final = 60 * SECOND
"""How far ahead a clock is that may well be right."""


@final
class Record:
    """One record, bound for one pipeline's topic."""

    __slots__ = ("headers", "key", "value")

    def __init__(self, key: bytes | None, value: bytes, headers: list[Header]) -> None:
        self.key: Final = key
        self.value: Final = value
        self.headers: Final = headers


def of_event(accepted: Accepted, pipeline: Pipeline, received: int, ids: Iterator[str]) -> Record:
    """The envelope around the client's bytes; `received` in microseconds.

    Where the client gave no id, it is the next of `ids`.

    The event's time is its timestamp, else the time inside a UUIDv7 id that lies in the pipeline's
    accepted window, else `received`. An id whose time is not its own goes `by id`. So does one near
    the window's ends: between an event and its resend the window moves on, and what was inside of
    it before may be outside then, or the other way round.
    """
    event = accepted.event
    by_id = False
    given = event.id
    event_id = next(ids) if given is None else given.lower()
    if event.timestamp is not None:
        time = to_micros(event.timestamp)
    elif given is None:
        time = received
    else:
        own = time_of(event_id)
        oldest = received - pipeline.window * SECOND
        if own is None or not oldest < own < received + _AHEAD:
            time, by_id = received, True
        else:
            time, by_id = own, not oldest + _AHEAD < own < received + _DRIFT
    value = splice.envelope(event_id, time, received, accepted.raw, accepted.value)
    id_header = (headers.ID, event_id.encode())
    key = event.distinct_id or event.session_id
    return Record(
        key.encode() if key else None, value, [id_header, _BY_ID] if by_id else [id_header]
    )


def of_reject(reject: Reject, received: int, ids: Iterator[str]) -> Record:
    """The client's bytes with the reason in headers.

    Its id is the client's where that was legible, so that a reject sent again makes no second
    letter; else the next of `ids`.
    """
    carried = [
        (headers.ID, (reject.id or next(ids)).encode()),
        (headers.REJECT, reject.code.encode()),
        (headers.RECEIVED, b"%d" % received),
        (headers.ERROR, reject.message.encode()),
    ]
    if reject.name is not None:
        carried.append((headers.EVENT, reject.name.encode()))
    if reject.size > len(reject.raw):
        carried.append((headers.TRUNCATED, b"%d" % reject.size))
    return Record(None, reject.raw, carried)
