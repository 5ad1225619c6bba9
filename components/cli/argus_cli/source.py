"""Reads events to send from a file: NDJSON, or one JSON array.

An event without an id is given one (UUIDv7) before the first attempt, so that an attempt made
again cannot store it twice; its bytes are otherwise the user's own. What is no JSON object goes as
it is: whether it is an event is for ARGUS to say.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from argus_cli.errors import BadInputError
from argus_cli.tally import Request
from argus_cli.traffic import NDJSON

_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])


class _Identified(msgspec.Struct):
    """As much of an event as matters here."""

    id: object = None


_IDENTIFIED: Final = msgspec.json.Decoder(_Identified)


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The file, or standard input for `-`; raises BadInputError where it cannot be read."""
    if file == Path("-"):
        yield sys.stdin.buffer
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def events(source: BinaryIO) -> Iterator[bytes]:
    """Each event's bytes; raises BadInputError where an array does not end, or holds no JSON."""
    lines = (stripped for line in source if (stripped := line.strip()))
    first = next(lines, b"")
    if first.startswith(b"["):
        yield from _of_array(b"\n".join([first, *lines]))
    elif first:
        yield from itertools.chain([first], lines)


def _of_array(document: bytes) -> Iterator[bytes]:
    try:
        items = _ARRAY.decode(document)
    except msgspec.DecodeError as error:
        raise BadInputError(f"the input begins like a JSON array and is none: {error}") from error
    for item in items:
        # An array's items may span lines; NDJSON's may not.
        yield msgspec.json.format(bytes(item), indent=-1)


def with_id(event: bytes, new_id: Callable[[], str]) -> tuple[bytes, str | None]:
    """The event with an id, and that id; as it was, and None, where it is no JSON object."""
    try:
        known = _IDENTIFIED.decode(event)
    except msgspec.DecodeError:
        return event, None
    if known.id is not None:
        return event, str(known.id)
    made = new_id()
    # Behind the others, for of two fields of one name, such as an id that is null, the last counts.
    start = event.rstrip()[:-1].rstrip()
    comma = b"" if start.endswith(b"{") else b","
    return b'%b%b"id":"%b"}' % (start, comma, made.encode()), made


def requests(source: Iterable[bytes], size: int, new_id: Callable[[], str]) -> Iterator[Request]:
    """NDJSON requests of up to `size` events each."""
    pending = iter(source)
    while batch := [with_id(event, new_id) for event in itertools.islice(pending, size)]:
        lines, ids = zip(*batch, strict=True)
        yield Request(b"\n".join(lines), NDJSON, "", ids)
