"""Content-Encoding undone, within bounds."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import pytest
import zstandard
from argus_ingest.inflate import ENCODINGS, InflateError, TooLargeError, inflate
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "x-gzip": partial(gzip.compress, compresslevel=1),
    "deflate": partial(zlib.compress, level=1),
    "br": partial(brotli.compress, quality=1),
    "zstd": zstandard.compress,
}


def test_every_encoding_is_tested() -> None:
    assert set(ENCODERS) == ENCODINGS


@given(st.binary(max_size=5_000), st.sampled_from(sorted(ENCODERS)))
def test_what_was_deflated_comes_back(data: bytes, encoding: str) -> None:
    assert inflate(ENCODERS[encoding](data), encoding, 5_000) == data


def test_deflate_without_its_header_is_understood() -> None:
    assert inflate(raw_deflate(b"hello" * 99), "deflate", MIB) == b"hello" * 99


def test_members_are_joined() -> None:
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"
    assert inflate(zstandard.compress(b"a") + zstandard.compress(b"b"), "zstd", 10) == b"ab"


def test_thousands_of_members_are_not() -> None:
    with pytest.raises(InflateError, match="members"):
        inflate(gzip.compress(b"") * 10_000, "gzip", MIB)


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_a_bomb_stops_at_the_limit(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(200 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            inflate(bomb, encoding, MIB)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_the_limit_itself_is_allowed(encoding: str) -> None:
    assert len(inflate(ENCODERS[encoding](bytes(MIB)), encoding, MIB)) == MIB


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_an_end_too_early_is_a_fault(encoding: str) -> None:
    deflated = ENCODERS[encoding](bytes(range(256)) * 50)
    with pytest.raises(InflateError):
        inflate(deflated[:-20], encoding, MIB)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(sorted(ENCODERS)))
def test_noise_is_a_fault_or_some_bytes_but_never_another_error(data: bytes, encoding: str) -> None:
    try:
        inflate(data, encoding, 10_000)
    except (InflateError, TooLargeError):
        return
