"""The same events as OpenTelemetry log records, in JSON and in protobuf, for the peer. Pure.

Both follow opentelemetry-proto's ExportLogsServiceRequest; protobuf is written by hand, since five
messages do not need a compiler. Bodies are made once and repeated: a peer that stores nothing does
not mind, and the generator stays cheap.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any, Final

from bench.events import variants

JSON: Final = "otlp-json"
PROTOBUF: Final = "otlp-protobuf"

_PATH: Final = "/v1/logs"
_TYPES: Final = {JSON: "application/json", PROTOBUF: "application/x-protobuf"}
_TIME: Final = 1_790_000_000_000_000_000
_BATCHES: Final = 40
_LENGTH_DELIMITED: Final = 2

Event = Mapping[str, Any]


class Requests:
    """An endless supply of requests as bytes, like bench.events.Requests."""

    def __init__(self, dialect: str, batch: int) -> None:
        """`dialect` is JSON or PROTOBUF; `batch` records make a request."""
        self._requests: Iterator[bytes] = cycle(_requests(dialect, batch))
        self._batch = batch
        self.sent = 0

    def next(self, micros: int) -> bytes:
        """The next request, whatever the time is."""
        self.sent += self._batch
        return next(self._requests)


def _requests(dialect: str, batch: int) -> list[bytes]:
    events = [json.loads(b"{" + text[2:]) for text in variants(seed=1)]
    encode = json_body if dialect == JSON else protobuf_body
    count = len(events) if batch == 1 else _BATCHES
    bodies = [
        encode([events[(number * batch + n) % len(events)] for n in range(batch)])
        for number in range(count)
    ]
    head = (
        f"POST {_PATH} HTTP/1.1\r\nHost: argus.example\r\nUser-Agent: argus-bench\r\n"
        f"Accept: */*\r\nContent-Type: {_TYPES[dialect]}\r\nContent-Length: "
    ).encode()
    return [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies]


def _attributes(event: Event) -> dict[str, Any]:
    return {
        "distinct_id": event["distinct_id"],
        "session.id": event["session_id"],
        **event["properties"],
    }


def json_body(events: list[Event]) -> bytes:
    """An ExportLogsServiceRequest in OTLP's JSON."""
    records = [
        {
            "timeUnixNano": str(_TIME),
            "body": {"stringValue": event["event"]},
            "attributes": [
                {"key": key, "value": _json_value(value)}
                for key, value in _attributes(event).items()
            ],
        }
        for event in events
    ]
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    return json.dumps(request, separators=(",", ":")).encode()


def _json_value(value: float | str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value}


def protobuf_body(events: list[Event]) -> bytes:
    """An ExportLogsServiceRequest in protobuf."""
    records = b"".join(_field(2, _record(event)) for event in events)
    return _field(1, _field(2, records))


def _record(event: Event) -> bytes:
    """LogRecord: time_unix_nano = 1, body = 5, attributes = 6."""
    attributes = b"".join(
        _field(6, _field(1, key.encode()) + _field(2, _value(value)))
        for key, value in _attributes(event).items()
    )
    return b"\x09" + struct.pack("<Q", _TIME) + _field(5, _value(event["event"])) + attributes


def _value(value: float | str) -> bytes:
    """AnyValue: string_value = 1, int_value = 3, double_value = 4."""
    if isinstance(value, str):
        return _field(1, value.encode())
    if isinstance(value, int):
        return b"\x18" + _varint(value)
    return b"\x21" + struct.pack("<d", value)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
