"""The COPY encoder, read back by a reader written from PostgreSQL's documentation.

tests/integration/stream/test_copyrows.py reads it back by PostgreSQL itself.
"""

import struct
from collections.abc import Iterator

import pytest
from argus_stream.copyrows import COLUMNS, POSTGRES_EPOCH, copy_data, row
from hypothesis import given
from hypothesis import strategies as st

text = st.text(max_size=20)
rows = st.tuples(
    st.integers(0, 2**63 - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(-(2**50), 2**53),
    st.integers(-(2**50), 2**53),
    st.booleans(),
    text,
    st.none() | text,
    st.none() | text,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.binary(min_size=2, max_size=30),
)
Row = tuple[int, bytes, int, int, bool, str, str | None, str | None, float | None, bytes | None]


def fields(data: bytes) -> Iterator[list[bytes | None]]:
    """The rows of a binary COPY stream, field by field."""
    signature, flags, extension = struct.unpack_from("!11sii", data)
    assert (signature, flags, extension) == (b"PGCOPY\n\xff\r\n\0", 0, 0)
    at = 19
    while True:
        (count,) = struct.unpack_from("!h", data, at)
        at += 2
        if count == -1:
            assert at == len(data)
            return
        found: list[bytes | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from("!i", data, at)
            at += 4
            found.append(None if length < 0 else data[at : at + length])
            at += max(length, 0)
        yield found


def parsed(found: list[bytes | None]) -> tuple[int, Row]:
    """A row's values, by the types of pg_temp.staged."""
    slice_, offset, id_, time, received, by_id, event, distinct, session, value, props = found
    assert slice_ is not None
    assert offset is not None
    assert id_ is not None
    assert time is not None
    assert received is not None
    assert by_id is not None
    assert event is not None
    assert props is None or props[0] == 1
    return struct.unpack("!i", slice_)[0], (
        struct.unpack("!q", offset)[0],
        id_,
        struct.unpack("!q", time)[0] + POSTGRES_EPOCH,
        struct.unpack("!q", received)[0] + POSTGRES_EPOCH,
        by_id == b"\1",
        event.decode(),
        None if distinct is None else distinct.decode(),
        None if session is None else session.decode(),
        None if value is None else struct.unpack("!d", value)[0],
        None if props is None else props[1:],
    )


@given(st.lists(st.lists(rows, max_size=4), max_size=4))
def test_what_is_written_is_what_is_read(slices: list[list[Row]]) -> None:
    data = copy_data([[row(*values) for values in piece] for piece in slices])
    expected = [(number, values) for number, piece in enumerate(slices, 1) for values in piece]
    found = [parsed(each) for each in fields(bytes(data))]
    assert found == expected


def test_every_column_has_a_field() -> None:
    data = copy_data([[row(1, bytes(16), 0, 0, False, "e", None, None, None, None)]])
    assert [len(found) for found in fields(bytes(data))] == [len(COLUMNS)]


def test_it_is_no_bytes_which_asyncpg_would_take_for_a_path() -> None:
    assert isinstance(copy_data([]), bytearray)


def test_a_time_that_no_timestamptz_holds_is_refused() -> None:
    with pytest.raises(struct.error):
        row(1, bytes(16), 2**63 + POSTGRES_EPOCH, 0, False, "e", None, None, None, None)
