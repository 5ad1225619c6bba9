"""Rows of `pg_temp.staged` in PostgreSQL's binary COPY format, written while records are decoded.

The format is that of PostgreSQL's documentation of COPY, "Binary Format", and of the types' `recv`
functions: a header, then per row a count of fields and per field its length and bytes, then a
trailer. A row is made without its first field, the slice, because which slice it belongs to is
known only when a batch is put together, and changes when a batch is bisected.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from argus_contract.times import SECOND

COLUMNS: Final = (
    "slice",
    "source_offset",
    "id",
    "time",
    "received_at",
    "by_id",
    "event",
    "distinct_id",
    "session_id",
    "value",
    "properties",
)
"""Columns of `pg_temp.staged`, in its order."""

POSTGRES_EPOCH: Final = 946_684_800 * SECOND
"""2000-01-01T00:00:00Z, where PostgreSQL's timestamps begin, in microseconds since 1970."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_JSONB_VERSION: Final = 1
_START: Final = Struct("!hii")
_HEAD: Final = Struct("!iqi16siqiqi?i")
_LENGTH: Final = Struct("!i")
_FLOAT: Final = Struct("!id")
_JSONB: Final = Struct("!ib")

_pack_head = _HEAD.pack
_pack_length = _LENGTH.pack
_pack_float = _FLOAT.pack
_pack_jsonb = _JSONB.pack


def row(
    offset: int,
    id: bytes,
    time: int,
    received: int,
    by_id: bool,
    event: str,
    distinct_id: str | None,
    session_id: str | None,
    value: float | None,
    properties: bytes | None,
) -> bytes:
    """One row without its slice.

    `id` has 16 bytes, times are microseconds since 1970, `properties` is JSON text. Raises
    struct.error for a time that a timestamptz cannot hold, UnicodeEncodeError for a lone surrogate.
    """
    name = event.encode()
    return b"".join(
        (
            _pack_head(
                8,
                offset,
                16,
                id,
                8,
                time - POSTGRES_EPOCH,
                8,
                received - POSTGRES_EPOCH,
                1,
                by_id,
                len(name),
            ),
            name,
            _NULL if distinct_id is None else _text(distinct_id),
            _NULL if session_id is None else _text(session_id),
            _NULL if value is None else _pack_float(8, value),
            _NULL
            if properties is None
            else _pack_jsonb(len(properties) + 1, _JSONB_VERSION) + properties,
        )
    )


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _pack_length(len(encoded)) + encoded


def copy_data(slices: Iterable[Sequence[bytes]]) -> bytearray:
    """The whole COPY stream of rows; the first slice is number 1.

    A bytearray, because asyncpg takes bytes for a path.
    """
    data = bytearray(_SIGNATURE)
    for number, rows in enumerate(slices, 1):
        if rows:
            start = _START.pack(len(COLUMNS), 4, number)
            data += start
            data += start.join(rows)
    data += _TRAILER
    return data
