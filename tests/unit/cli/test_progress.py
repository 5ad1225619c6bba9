import io

import pytest
from argus_cli import progress
from argus_cli.replay import Counts
from rich.console import Console

HALF = Counts(matched=10, passing=10, replayed=6, stored=3, duplicate=1)


def test_in_a_pipe_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=120)
    with progress.showing(console, "shop/web", 10) as show:
        show(HALF)
        monkeypatch.setattr(progress, "EVERY_S", 0.0)
        show(HALF)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "shop/web: 6 of 10 published, 4 settled\n"


def test_on_a_terminal_there_is_a_bar() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with progress.showing(console, "shop/web", 10) as show:
        show(HALF)

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "4/10" in text
    assert "2 on their way" in text
