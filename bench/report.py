"""What people see: a line while something goes on, tables at the end."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from bench import budgets
from bench.budgets import Figures, Verdict
from bench.comparison import Ratio, worse
from bench.results import Results
from bench.trial import Run
from bench.variants import AS_IS, VARIANTS

COMPONENTS: Final = ("ingest", "kafka", "redis", "stream", "postgres")

_CEILINGS: Final = (
    ("bare httptools server, one event", "http", "ingest"),
    ("Kafka's producer-perf-test", "kafka", "kafka"),
    ("COPY without indexes", "copy", "postgres"),
    ("HSET, 64 in a pipeline", "hset_pipelined", "redis"),
    ("HSET, one at a time", "hset", "redis"),
)
"""What it is, its figure, and whose ceiling it is."""

_STORAGE: Final = ("cpu", "ratio", "least", "most", "wal", "table", "indexes")

_console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
_began: Final = time.monotonic()


def progress(line: str) -> None:
    """A line with the minutes and seconds since the bench began."""
    minutes, seconds = divmod(round(time.monotonic() - _began), 60)
    _console.print(f"[dim]{minutes:2}:{seconds:02}[/]  {line}", soft_wrap=True)


def run_line(mode: str, number: int, run: Run) -> str:
    """One run in a line."""
    parts = "  ".join(f"{name} {run.cpu[name]:.2f}" for name in COMPONENTS)
    return (
        f"{mode} {number}: {run.accepted:,.0f} accepted/s, {run.stored:,.0f} stored/s, "
        f"p50 {run.p50:.1f} p99 {run.p99:.1f} ms, µs/event: whole {run.whole:.1f} = {parts}  "
        f"(load {run.cpu['load']:.1f}), lost {run.lost}"
    )


def round_line(mode: str, costs: Mapping[str, float]) -> str:
    """One round of ours against the peer in a line."""
    parts = "  ".join(f"{name} {cost:.2f}" for name, cost in costs.items())
    return f"{mode}, the edge alone, µs/record: {parts}"


def runs_table(results: Results) -> Table:
    """Every run of every mode."""
    table = Table(title="CPU in µs per event (user + system, all processes of a component)")
    for heading in ("mode", "run", "events/s", "stored/s", "p50 ms", "p99 ms", "p99.9 ms"):
        table.add_column(heading, justify="right")
    for name in ("whole", *COMPONENTS, "load"):
        table.add_column(name, justify="right")
    for mode, runs in results.runs.items():
        for number, run in enumerate(runs, 1):
            costs = [run.whole, *(run.cpu[name] for name in (*COMPONENTS, "load"))]
            table.add_row(*_row(mode, str(number), run, costs))
        figures = results.figures
        if f"{mode}.whole" not in figures:
            continue
        medians = [figures[f"{mode}.{name}"] for name in ("whole", *COMPONENTS, "load")]
        table.add_row(
            *(mode, "median", f"{figures[f'{mode}.accepted']:,.0f}"),
            f"{figures[f'{mode}.stored']:,.0f}",
            *(f"{figures[f'{mode}.{name}']:.1f}" for name in ("p50", "p99", "p999")),
            *(f"{cost:.2f}" for cost in medians),
            style="bold",
            end_section=True,
        )
    return table


def _row(mode: str, number: str, run: Run, costs: Sequence[float]) -> list[str]:
    return [
        *(mode, number, f"{run.accepted:,.0f}", f"{run.stored:,.0f}"),
        *(f"{run.p50:.1f}", f"{run.p99:.1f}", f"{run.p999:.1f}"),
        *(f"{cost:.2f}" for cost in costs),
    ]


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """Each budget and what was measured."""
    table = Table(title="Budgets")
    table.add_column("budget")
    for heading in ("must", "aim", "measured"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for verdict in verdicts:
        budget = verdict.budget
        measured = "—" if verdict.figure is None else f"{verdict.figure:,.1f} {budget.unit}"
        aim = "" if budget.aim is None else f"≤ {budget.aim:g}"
        table.add_row(
            budget.title,
            f"{'≥' if budget.least else '≤'} {budget.must:g}",
            aim,
            measured,
            ("[green]passed, aim too[/]" if verdict.reached else "[green]passed[/]")
            if verdict.passed
            else "[red]FAILED[/]",
        )
    return table


def conclude(verdicts: Sequence[Verdict]) -> bool:
    """The table and the last line; whether all passed."""
    passed, failed = budgets.tally(verdicts)
    _console.print(verdicts_table(verdicts))
    _console.print(f"{passed} passed, {failed} failed")
    return not failed


def show(results: Results) -> None:
    """The machine and the runs."""
    machine = results.machine
    _console.print(
        f"\n{machine.processor}, {machine.cores} cores, kernel {machine.kernel}, "
        f"Python {machine.python}, ARGUS {machine.commit}"
    )
    if results.runs:
        _console.print(runs_table(results))
    if f"storage.{AS_IS}.cpu" in results.figures:
        _console.print(storage_table(results.figures))
    if "ceiling.http" in results.figures:
        _console.print(ceilings_table(results.figures))
    for name in sorted(results.figures):
        if name.startswith(("ours.", "peer.")):
            _console.print(f"edge, {name}: {results.figures[name]:.2f} µs/record")
    for mode in budgets.MODES:
        whole = results.figures.get(f"{mode}.whole")
        if whole is None:
            continue
        _console.print(f"{mode}: {4e6 / whole:,.0f} events/s per 4 vCPUs at {whole:.1f} µs/event")


def ceilings_table(figures: Figures) -> Table:
    """Each part at its best, and how many times as much it costs in the whole system."""
    table = Table(title="Ceilings, in the same run")
    for heading in ("alone", "rate/s", "CPU µs", "in ARGUS, single", "×", "batch", "×"):
        table.add_column(heading, justify="left" if heading == "alone" else "right")
    for title, ceiling, component in _CEILINGS:
        alone = figures[f"ceiling.{ceiling}"]
        row = [title, f"{figures[f'ceiling.{ceiling}_rate']:,.0f}", f"{alone:.2f}"]
        for mode in budgets.MODES:
            ours = figures.get(f"{mode}.{component}")
            row += ["", ""] if ours is None else [f"{ours:.2f}", f"{ours / alone:.2f}"]
        table.add_row(*row)
    return table


def storage_table(figures: Figures) -> Table:
    """Each variant of storage: CPU, as medians of the rounds, and bytes, all per row."""
    table = Table(title="PostgreSQL per row")
    for heading in ("variant", "CPU µs", "×", "of", "least", "most", "log B", "table B", "index B"):
        table.add_column(heading, justify="left" if heading in ("variant", "of") else "right")
    titles = {variant.name: variant.title for variant in VARIANTS}
    for variant in VARIANTS:
        name = f"storage.{variant.name}"
        row = {key: figures[f"{name}.{key}"] for key in _STORAGE}
        alone = variant.name == variant.against
        table.add_row(
            *(variant.title, f"{row['cpu']:.1f}", "" if alone else f"{row['ratio']:.2f}"),
            "" if alone else titles[variant.against],
            *(f"{row['least']:.1f}", f"{row['most']:.1f}"),
            *(f"{row[key]:.0f}" for key in ("wal", "table", "indexes")),
        )
    return table


def ratios_table(ratios: Sequence[Ratio]) -> Table:
    """A comparison; above 1 is dearer than it was."""
    table = Table(title="Now over then")
    for heading in ("cost per event", "plain", "by the machine's speed"):
        table.add_column(heading, justify="left" if heading.startswith("cost") else "right")
    for ratio in ratios:
        normalised = "—" if ratio.normalised is None else f"{ratio.normalised:.2f}"
        table.add_row(ratio.figure, f"{ratio.plain:.2f}", normalised)
    return table


def compared(ratios: Sequence[Ratio], most: float) -> bool:
    """The table and what it comes to; whether nothing is dearer than `most` times."""
    _console.print(ratios_table(ratios))
    dearer = worse(ratios, most)
    _console.print(f"{len(ratios) - len(dearer)} of {len(ratios)} costs at most {most:g} times")
    return not dearer
