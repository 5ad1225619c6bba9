"""Figures out of samples."""

import pytest

from bench import report, storage
from bench.storage import Sample, Size
from bench.variants import AGAIN, AS_IS, VARIANTS


def _samples(**costs: float) -> dict[str, list[Sample]]:
    """Three rounds of each variant, the last one disturbed."""
    return {
        variant.name: [
            Sample(cpu=factor * costs.get(variant.name, 10.0), wal=600.0)
            for factor in (0.9, 1.0, 5.0)
        ]
        for variant in VARIANTS
    }


SIZES = {variant.name: Size(table=400.0, indexes=60.0) for variant in VARIANTS}


def test_a_variant_is_its_median_over_that_of_what_it_is_held_against() -> None:
    found = storage.figures(_samples(late_1d=20.0, late_1h=30.0), SIZES, VARIANTS)
    assert found["storage.late_1h.cpu"] == 30
    assert found["storage.late_1h.ratio"] == pytest.approx(1.5)
    assert found["storage.late_1d.ratio"] == pytest.approx(2)
    assert (found["storage.late_1d.least"], found["storage.late_1d.most"]) == (18, 100)


@pytest.mark.parametrize("cost", [8.0, 12.0])
def test_noise_is_how_far_the_same_differs_from_itself(cost: float) -> None:
    found = storage.figures(_samples(**{AS_IS: 10.0, AGAIN: cost}), SIZES, VARIANTS)
    assert found["storage.noise"] == pytest.approx(20)


def test_the_table_has_a_row_for_each_variant() -> None:
    table = report.storage_table(storage.figures(_samples(), SIZES, VARIANTS))
    assert table.row_count == len(VARIANTS)
