"""A body's items: what each event was, byte for byte, before any of them is judged.

msgspec splits an array in a quarter of a microsecond an event, but one string that is not Unicode,
or one event nested too deeply, makes it give up on the whole. Such bodies are split here by their
brackets alone, so that one bad event does not take the others along.
"""

import re
from typing import Final

import msgspec
from argus_contract.judge import STRING, NotJsonError

from argus_ingest.errors import TooManyEventsError

MAX_VALUES: Final = 500_000
"""Most commas, or lines, in one body: each may become an object of ours before it can be counted as
an event. Enough for 5,000 events of 100 properties."""

_LENIENT_TOKENS: Final = 200_000
"""Brackets, commas and strings looked at before a body that msgspec refuses is given up: some
50 ms of work at most."""
_TOKEN: Final = re.compile(STRING + rb"|[][{},]", re.DOTALL)
_BATCH: Final = re.compile(rb'\s*+\{\s*+"batch"\s*+:\s*+(?=\[)')
_SPACE: Final = b" \t\r\n"
_COMMA: Final = ord(",")


class Batch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`{"batch": [...]}`."""

    batch: list[msgspec.Raw]


_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_batch: Final = msgspec.json.Decoder(Batch).decode


def split_lines(body: bytes) -> list[bytes]:
    """The lines of NDJSON that are not blank; raises TooManyEventsError."""
    _require_few(body, b"\n")
    return [line for line in body.split(b"\n") if line.strip(_SPACE)]


def split(body: bytes) -> list[bytes]:
    """The items of an array or of `{"batch": [...]}`; else the body is the one item.

    An item is not judged yet: it may be no event, or be JSON that only a lenient reader takes.
    Raises NotJsonError and TooManyEventsError.
    """
    _require_few(body, b",")
    first = body.lstrip(_SPACE)[:1]
    try:
        if first == b"[":
            return [bytes(raw) for raw in _decode_array(body)]
        if first == b"{" and b'"batch"' in body:
            return _split_object(body)
    except RecursionError:
        return _split_leniently(body, "it is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _split_leniently(body, str(error))
    return [body]


def _require_few(body: bytes, separator: bytes) -> None:
    if len(body) > MAX_VALUES and body.count(separator) >= MAX_VALUES:
        raise TooManyEventsError(
            f"The body has more than {MAX_VALUES} values. Send fewer events at once.",
            members={"limit": MAX_VALUES},
        )


def _split_object(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _decode_batch(body).batch]
    except msgspec.ValidationError:
        # Some other object with "batch" somewhere inside: one event, good or bad.
        return [body]


def _split_leniently(body: bytes, fault: str) -> list[bytes]:
    """The items by their brackets; raises NotJsonError where these do not match."""
    batch = _BATCH.match(body)
    start = batch.end() if batch else len(body) - len(body.lstrip(_SPACE))
    if body[start : start + 1] != b"[":
        return [body]
    items, end = _items(body, start)
    if end is None or body[end:].strip(_SPACE) != (b"}" if batch else b""):
        raise NotJsonError(fault)
    if not all(items):
        raise NotJsonError(fault)
    return items


def _items(body: bytes, start: int) -> tuple[list[bytes], int | None]:
    """The array's items and where it ends; None where it does not, or not soon enough."""
    items: list[bytes] = []
    depth, item = 0, start + 1
    for count, token in enumerate(_TOKEN.finditer(body, start)):
        if count > _LENIENT_TOKENS:
            break
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if depth == 0 or (depth == 1 and mark == _COMMA):
            items.append(body[item : token.start()].strip(_SPACE))
            item = token.end()
        if depth == 0:
            return items, token.end()
    return items, None
