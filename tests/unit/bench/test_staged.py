"""Rows for the store, as each variant wants them."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from struct import Struct

import pytest
from argus_stream import copyrows

from bench.staged import Rows
from bench.variants import AS_IS, VARIANTS, Variant

NOW = 1_790_000_000_123_456
SECOND = 1_000_000
_FIELD = Struct("!i")

Fields = list[bytes | None]


def _variant(name: str) -> Variant:
    return next(one for one in VARIANTS if one.name == name)


def _fields(row: bytes) -> Fields:
    """The fields after the slice, whose length the start of a row holds."""
    found: Fields = []
    at = 0
    while at < len(row):
        (length,) = _FIELD.unpack_from(row, at)
        at += _FIELD.size
        found.append(None if length < 0 else row[at : at + length])
        at += max(0, length)
    assert at == len(row)
    assert len(found) == len(copyrows.COLUMNS) - 1
    return found


def _batch(variant: Variant) -> list[dict[str, bytes]]:
    rows = Rows(replace(variant, batch=50), seed=1).batch(NOW)
    return [
        {
            name: field
            for name, field in zip(copyrows.COLUMNS[1:], _fields(row), strict=True)
            if field
        }
        for row in rows
    ]


def _micros(field: bytes) -> int:
    return int.from_bytes(field, signed=True) + copyrows.POSTGRES_EPOCH


def test_offsets_count_on_from_batch_to_batch() -> None:
    rows = Rows(replace(_variant(AS_IS), batch=3), seed=1)
    offsets = [_fields(row)[0] for _ in range(2) for row in rows.batch(NOW)]
    assert offsets == [number.to_bytes(8) for number in range(6)]
    assert rows.made == 6


@pytest.mark.parametrize(("name", "version"), [(AS_IS, 7), ("ids_v4", 4), ("timeless_v4", 4)])
def test_ids_are_distinct_uuids_of_the_version(name: str, version: int) -> None:
    ids = [uuid.UUID(bytes=row["id"]) for row in _batch(_variant(name))]
    assert {one.version for one in ids} == {version}
    assert {one.variant for one in ids} == {uuid.RFC_4122}
    assert len(set(ids)) == len(ids)


def test_ordered_ids_hold_the_rows_time() -> None:
    for row in _batch(_variant(AS_IS)):
        assert int.from_bytes(row["id"][:6]) * 1_000 == _micros(row["time"])


def test_events_happen_shortly_before_they_are_received() -> None:
    for row in _batch(_variant(AS_IS)):
        assert NOW - SECOND < _micros(row["time"]) <= _micros(row["received_at"]) <= NOW
        assert row["by_id"] == b"\0"


def test_late_events_spread_over_the_day() -> None:
    times = [_micros(row["time"]) for row in _batch(_variant("late_1d"))]
    day = timedelta(days=1) / timedelta(microseconds=1)
    assert NOW - day - SECOND < min(times) < NOW - day / 2 < max(times) <= NOW


def test_events_without_a_time_have_that_of_their_receipt() -> None:
    for row in _batch(_variant("timeless_v7")):
        assert row["time"] == row["received_at"]
        assert row["by_id"] == b"\1"


@pytest.mark.parametrize(("name", "prefix"), [(AS_IS, b"\1"), ("json", b""), ("text", b"")])
def test_properties_are_in_the_binary_form_of_their_type(name: str, prefix: bytes) -> None:
    for row in _batch(_variant(name)):
        assert row["properties"].startswith(prefix)
        assert len(json.loads(row["properties"].removeprefix(prefix))) == 10
