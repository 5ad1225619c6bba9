"""The seeds of the fuzz target, held against its invariants without it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.invariants import check

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())


@pytest.mark.parametrize("seed", CORPUS, ids=lambda seed: str(seed.name))
def test_a_seed(seed: Path) -> None:
    check(seed.read_bytes())


def test_there_are_seeds_of_every_kind() -> None:
    assert len(CORPUS) > 20


pieces = st.sampled_from(
    [
        *(b'{"event":"', b'"x"', b'"}', b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n"),
        *(b'"id":"0190a5a0-1111-7222-8333-444455556666"', b'"timestamp":"2026-01-01T00:00:00Z"'),
        *(b'"value":', b'"properties":', b'"distinct_id":', b'{"batch":[', b"1e400", b"NaN"),
        *(
            b"\\ud800",
            b"\\u0000",
            b"\xff",
            "\u00e9".encode(),
            b"null",
            b"-0.0",
            b" ",
            b"health_metric",
        ),
    ]
)


@given(st.lists(pieces | st.binary(max_size=3), max_size=40).map(b"".join))
def test_bodies_made_of_likely_pieces(body: bytes) -> None:
    check(body)
