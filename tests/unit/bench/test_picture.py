"""The picture is well-formed and says what was measured."""

from xml.etree import ElementTree

import pytest

from bench import picture

FIGURES = {
    f"{mode}.{name}": cost
    for mode in ("single", "batch")
    for name, cost in {
        "whole": 90.0,
        "ingest": 50.0,
        "kafka": 8.0,
        "redis": 4.0,
        "stream": 12.0,
        "postgres": 16.0,
    }.items()
}
SVG = "{http://www.w3.org/2000/svg}"


def _bars(figures: dict[str, float]) -> list[ElementTree.Element]:
    drawn = ElementTree.fromstring(picture.draw(figures, "a <machine> & more"))  # noqa: S314
    return [one for one in drawn.iter(f"{SVG}rect") if one.get("height") == "38"]


def test_bars_are_as_wide_as_their_costs() -> None:
    ingest, kafka, *_ = _bars(FIGURES)
    assert float(ingest.attrib["width"]) / float(kafka.attrib["width"]) == pytest.approx(
        50 / 8, rel=0.01
    )


def test_every_mode_that_was_measured_has_a_bar_of_five_parts() -> None:
    assert len(_bars(FIGURES)) == 10
    single = {name: cost for name, cost in FIGURES.items() if name.startswith("single")}
    assert len(_bars(single)) == 5


def test_it_says_what_four_processors_would_carry() -> None:
    assert "44,444 events/s" in picture.draw(FIGURES, "")
