"""The peer's bytes: the two encodings say the same, and the length of each field is right."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from bench import otlp
from bench.events import variants

EVENT = json.loads(b"{" + variants(seed=1)[3][2:])


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and content of each field of a protobuf message, by its encoding guide."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
        elif kind == 1:
            yield number, message[position : position + 8]
            position += 8
        else:
            length = varint()
            yield number, message[position : position + length]
            position += length


def _value(message: bytes) -> Any:
    [(number, content)] = _fields(message)
    match number:
        case 1:
            return content.decode()
        case 3:
            return content
        case _:
            return struct.unpack("<d", content)[0]


def _record(record: bytes) -> tuple[str, dict[str, Any]]:
    name, attributes = "", {}
    for number, content in _fields(record):
        if number == 5:
            name = _value(content)
        elif number == 6:
            pair = dict(_fields(content))
            attributes[pair[1].decode()] = _value(pair[2])
    return name, attributes


def test_protobuf_says_what_the_event_says() -> None:
    [(_, resource)] = _fields(otlp.protobuf_body([EVENT]))
    [(_, scope)] = _fields(resource)
    [(_, record)] = _fields(scope)
    name, attributes = _record(record)
    assert name == EVENT["event"]
    assert attributes["distinct_id"] == EVENT["distinct_id"]
    assert {key: attributes[key] for key in EVENT["properties"]} == EVENT["properties"]


def test_json_says_what_the_event_says() -> None:
    [resource] = json.loads(otlp.json_body([EVENT]))["resourceLogs"]
    [record] = resource["scopeLogs"][0]["logRecords"]
    assert record["body"] == {"stringValue": EVENT["event"]}
    found = {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
    for key, value in EVENT["properties"].items():
        assert str(found[key]) == str(value)


@pytest.mark.parametrize("dialect", [otlp.JSON, otlp.PROTOBUF])
@pytest.mark.parametrize("batch", [1, 100])
def test_requests_are_whole(dialect: str, batch: int) -> None:
    supply = otlp.Requests(dialect, batch)
    for _ in range(3):
        head, _, body = supply.next(0).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}" in head.decode()
    assert supply.sent == 3 * batch


def test_a_hundred_records_are_a_hundred() -> None:
    [(_, resource)] = _fields(otlp.protobuf_body([EVENT] * 100))
    [(_, scope)] = _fields(resource)
    assert len(list(_fields(scope))) == 100
