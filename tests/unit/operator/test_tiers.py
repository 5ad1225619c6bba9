"""A file of tiers that changes while the operator runs."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from argus_operator.settings import Tier, read_tiers
from argus_operator.tiers import TierBook
from prometheus_client import REGISTRY

SLOW = {"standard": {"perKey": {"rate": 1, "burst": 5_000}}}


def invalid() -> float | None:
    """What the metric says."""
    return REGISTRY.get_sample_value("argus_operator_tiers_invalid")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "tiers.json"
    made.write_text('{"standard": {}}')
    return made


@pytest.fixture
def book(file: Path) -> TierBook:
    return TierBook(lambda: read_tiers(file), file)


def mount(file: Path, tiers: Any) -> None:
    """Another version, as the kubelet puts it in the place of the one before: at once."""
    fresh = file.with_suffix(".new")
    fresh.write_text(tiers if isinstance(tiers, str) else json.dumps(tiers))
    fresh.replace(file)


def test_a_change_is_seen_at_the_next_look(file: Path, book: TierBook) -> None:
    assert book()["standard"] == Tier()
    mount(file, SLOW)
    assert book()["standard"] == Tier()

    book.refresh()

    assert book()["standard"].per_key.rate == 1


def test_a_file_that_is_as_it_was_is_not_read(file: Path) -> None:
    reads: list[Path] = []

    def read() -> dict[str, Tier]:
        reads.append(file)
        return {"standard": Tier()}

    book = TierBook(read, file)
    for _ in range(3):
        book.refresh()
    assert len(reads) == 1

    os.utime(file, ns=(1, 1))
    book.refresh()
    assert len(reads) == 2


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"standard": {"perKey": 1}}'])
def test_what_is_no_tiers_leaves_the_last_ones_in_force_and_is_told_once(
    file: Path, book: TierBook, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    mount(file, SLOW)
    book.refresh()
    mount(file, spoilt)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            book.refresh()

    assert book()["standard"].per_key.rate == 1
    assert invalid() == 1
    assert len(caplog.records) == 1

    mount(file, {"standard": {}})
    book.refresh()
    assert (book()["standard"], invalid()) == (Tier(), 0)


def test_a_file_that_is_gone_leaves_them_in_force_until_it_is_back(
    file: Path, book: TierBook
) -> None:
    text = file.read_text()
    file.unlink()
    book.refresh()
    assert (book(), invalid()) == ({"standard": Tier()}, 1)

    file.write_text(text)
    book.refresh()
    assert invalid() == 0


def test_without_a_file_they_are_what_the_settings_say() -> None:
    book = TierBook(lambda: {"gold": Tier()})
    book.refresh()

    assert set(book()) == {"gold"}


def test_none_at_all_to_begin_with_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "tiers.json"
    with pytest.raises(OSError, match="tiers"):
        TierBook(lambda: read_tiers(file), file)

    file.write_text("{}x")
    with pytest.raises(ValueError, match="Extra data"):
        TierBook(lambda: read_tiers(file), file)
