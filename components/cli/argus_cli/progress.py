"""How far a replay has come: a bar on a terminal, a line now and then in a pipe."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from argus_cli.replay import Counts

EVERY_S: Final = 5.0

Show = Callable[[Counts], None]


@contextmanager
def showing(console: Console, name: str, total: int) -> Iterator[Show]:
    """Shows how many of `total` records are published and settled while the block runs."""
    if console.is_terminal:
        with _bar(console, name, total) as show:
            yield show
    else:
        yield _lines(console, name, total)


@contextmanager
def _bar(console: Console, name: str, total: int) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unsettled]:,} on their way"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=total, unsettled=0)
        yield lambda counts: progress.update(
            task, completed=counts.replayed - counts.unsettled, unsettled=counts.unsettled
        )


def _lines(console: Console, name: str, total: int) -> Show:
    said = time.monotonic()

    def show(counts: Counts) -> None:
        nonlocal said
        if time.monotonic() - said < EVERY_S:
            return
        said = time.monotonic()
        console.print(
            f"{name}: {counts.replayed:,} of {total:,} published, "
            f"{counts.replayed - counts.unsettled:,} settled",
            markup=False,
        )

    return show
