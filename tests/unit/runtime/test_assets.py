"""Assets come from the checkout, or from where the image says."""

from pathlib import Path

import pytest
from argus_runtime import assets


def test_the_environment_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lua").mkdir()
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    assert assets.path("lua") == tmp_path / "lua"


def test_a_missing_asset_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="ARGUS_ASSETS"):
        assets.path("lua", "token_bucket.lua")
