"""The bench's command line."""

import pytest

from bench import __main__ as main


@pytest.mark.parametrize("words", [(), ("local",), ("soak",), ("growth",), ("compare",)])
def test_help_is_told(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main._parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: bench" in capsys.readouterr().out


def test_only_what_is_compared_with_later_is_published() -> None:
    assert main._parser().parse_args(["local", "--publish"]).publish
    with pytest.raises(SystemExit):
        main._parser().parse_args(["growth", "--publish"])
    assert not main._parser().parse_args(["growth"]).publish
