"""Content-Encoding undone, never giving out more bytes than allowed: a bomb stops at the limit."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import brotli
import zstandard

CHUNK: Final = 64 * 1024
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
"""Largest window, the one that RFC 9659 lets an HTTP client assume."""


_MEMBERS: Final = 16


class InflateError(Exception):
    """The bytes are not what Content-Encoding says."""


class TooLargeError(Exception):
    """More comes out than allowed."""


def _zlib(data: bytes, wbits: int) -> Iterator[bytes]:
    """Members one after another, as gzip allows, but not thousands: each copies what is left."""
    members = 0
    while data:
        members += 1
        if members > _MEMBERS:
            raise InflateError(f"it has more than {_MEMBERS} members")
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            chunk = stream.decompress(data, CHUNK)
            data = stream.unconsumed_tail
            if not chunk and not data and not stream.eof:
                raise InflateError("it ends too early")
            yield chunk
        data = stream.unused_data


def _gzip(data: bytes) -> Iterator[bytes]:
    return _zlib(data, 16 + zlib.MAX_WBITS)


def _deflate(data: bytes) -> Iterator[bytes]:
    """The zlib format, as HTTP means it, or the bare stream that many clients send."""
    is_zlib = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _zlib(data, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _brotli(data: bytes) -> Iterator[bytes]:
    stream = brotli.Decompressor()
    yield stream.process(data, output_buffer_limit=CHUNK)
    while not stream.is_finished():
        chunk = stream.process(b"", output_buffer_limit=CHUNK)
        if not chunk and not stream.is_finished():
            raise InflateError("it ends too early")
        yield chunk


def _zstd(data: bytes) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    with context.stream_reader(data, read_across_frames=True) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


_CODECS: Final[Mapping[str, Callable[[bytes], Iterator[bytes]]]] = MappingProxyType(
    {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
)
ENCODINGS: Final = frozenset(_CODECS)
"""Names that `inflate` knows."""
_FAULTS: Final = (zlib.error, brotli.error, zstandard.ZstdError)


def inflate(data: bytes, encoding: str, limit: int) -> bytes:
    """The bytes that `data` stands for.

    Raises TooLargeError as soon as more than `limit` bytes come out, InflateError for what is not
    of this encoding, KeyError for an encoding not in ENCODINGS.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in _CODECS[encoding](data):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise TooLargeError
    except _FAULTS as error:
        raise InflateError(str(error)) from error
    return b"".join(chunks)
