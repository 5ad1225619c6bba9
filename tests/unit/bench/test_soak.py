"""Flatness, from samples."""

import pytest

from bench import soak
from bench.soak import Sample


def _samples(per_minute: float = 0.0, rate: float = 1000.0, warm: float = 0.0) -> list[Sample]:
    """Ten minutes: memory grows steadily after `warm` MiB in the first minute."""
    return [
        Sample(
            second=second,
            resident={"stream": 100 + min(second, 60) / 60 * warm + per_minute * second / 60},
            stored=round(rate * second),
        )
        for second in range(5, 600, 5)
    ]


def test_flat_is_no_growth_whatever_the_first_minute_took() -> None:
    assert soak.growth(_samples(warm=80)) == {"soak.stream_growth": pytest.approx(0)}


def test_a_leak_shows() -> None:
    assert soak.growth(_samples(per_minute=3))["soak.stream_growth"] == pytest.approx(21, abs=1)


def test_a_stream_that_keeps_up_is_not_behind() -> None:
    assert soak.behind(_samples(), rate=1000) == pytest.approx(0, abs=0.1)


def test_a_stream_that_stores_nine_tenths_falls_behind() -> None:
    assert soak.behind(_samples(rate=900), rate=1000) == pytest.approx(47.5, abs=1)
