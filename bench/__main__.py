"""`python -m bench`: what `make bench-local` and its sisters run."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench import (
    budgets,
    cluster,
    comparison,
    growth,
    local,
    picture,
    report,
    results,
    soak,
    storage,
)
from bench.budgets import Budget
from bench.chart import ROOT
from bench.engines import Images
from bench.house import Setting
from bench.results import Results

PICTURE: Final = ROOT / "docs" / "performance.svg"


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench: what it does, how, and what it is held against."""

    does: str
    conduct: Callable[[Setting, Path, Results], None]
    budgets: Sequence[Budget]


_BENCHES: Final = {
    "local": Bench(
        "the whole system on this host, held against its budgets", local.conduct, budgets.LOCAL
    ),
    "cluster": Bench(
        "the installed system on the kind cluster, held against its budgets",
        cluster.conduct,
        budgets.CLUSTER,
    ),
    "growth": Bench(
        "what an event costs with 200 tenants, 10 million rows, 100,000 addresses",
        growth.conduct,
        budgets.GROWTH,
    ),
    "soak": Bench(
        "ten minutes at 70 % of saturation: memory and lag stay flat", soak.conduct, budgets.SOAK
    ),
    "storage": Bench(
        "what a row costs PostgreSQL, and would if it were stored in other ways",
        storage.conduct,
        budgets.STORAGE,
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, bench in _BENCHES.items():
        escaped = bench.does.replace("%", "%%")
        _add_setting(commands.add_parser(name, help=escaped, description=bench.does))
    published = commands.choices["local"]
    published.add_argument(
        "--publish",
        action="store_true",
        help="also write bench/baseline.json and the docs' picture",
    )
    does = "the last bench against bench/baseline.json, as ratios"
    compare = commands.add_parser("compare", help=does, description=does)
    compare.add_argument("--results", type=Path, default=results.STATE / "local.json")
    compare.add_argument("--baseline", type=Path, default=results.BASELINE)
    compare.add_argument(
        "--most", type=float, default=1.5, help="ratio that is still no failure (%(default)s)"
    )
    return parser


def _add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        nargs=3,
        metavar=("KAFKA", "VALKEY", "POSTGRES"),
        help="references of the engines' images, where the bench starts them",
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each mode (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run (%(default)s)")
    parser.add_argument("--ingest", type=int, default=1, help="its processes (%(default)s)")
    parser.add_argument("--stream", type=int, default=1, help="its processes (%(default)s)")
    parser.add_argument("--partitions", type=int, default=1, help="of a topic (%(default)s)")
    parser.add_argument("--connections", type=int, default=256, help="(%(default)s)")
    parser.add_argument("--batch-connections", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--addresses", type=int, default=1000, help="of clients (%(default)s)")
    parser.add_argument("--mode", choices=budgets.MODES, action="append", help="only this (both)")
    parser.add_argument("--no-ceilings", action="store_true", help="leave out ceilings and peer")
    parser.add_argument("--peer", type=Path, help="an OpenTelemetry Collector with otlp and kafka")
    parser.add_argument("--profile", type=Path, metavar="DIRECTORY", help="write flame graphs")
    parser.add_argument("--quick", action="store_true", help="one run of 5 s: for development")
    parser.add_argument("--output", type=Path, help="of the JSON")
    parser.set_defaults(publish=False)


def _setting(given: argparse.Namespace) -> Setting:
    return Setting(
        images=None if given.images is None else Images(*given.images),
        runs=1 if given.quick else given.runs,
        seconds=5.0 if given.quick else given.seconds,
        latency_seconds=5.0 if given.quick else 15.0,
        ingest=given.ingest,
        stream=given.stream,
        partitions=given.partitions,
        connections=given.connections,
        batch_connections=given.batch_connections,
        addresses=given.addresses,
        modes=tuple(given.mode or budgets.MODES),
        ceilings=not given.no_ceilings,
        peer=None if given.no_ceilings else given.peer,
        profile=given.profile,
    )


def _measure(given: argparse.Namespace) -> bool:
    bench, setting = _BENCHES[given.command], _setting(given)
    output = given.output or results.STATE / f"{given.command}.json"
    found = results.empty(given.command, setting.figures())
    scratch = Path(tempfile.mkdtemp(prefix="argus-bench-"))
    report.progress(f"logs and configuration are in {scratch}")
    try:
        bench.conduct(setting, scratch, found)
    finally:
        results.write(found, output)
    report.show(found)
    report.progress(f"all of it is in {output}")
    if given.publish:
        _publish(found)
    return report.conclude(budgets.judge(bench.budgets, found.figures))


def _publish(found: Results) -> None:
    machine = found.machine
    caption = (
        f"{machine.processor}, {machine.cores} cores, commit {machine.commit}, {found.at[:10]}"
    )
    PICTURE.write_text(picture.draw(found.figures, caption))
    results.write(found, results.BASELINE)
    report.progress(f"wrote {PICTURE.name} and {results.BASELINE.name}")


def _compare(given: argparse.Namespace) -> bool:
    now, then = results.read(given.results), results.read(given.baseline)
    return report.compared(comparison.compare(now.figures, then.figures), given.most)


def main() -> int:
    """0 where every budget was met, 1 where not or where the bench could not be run."""
    given = _parser().parse_args()
    does = _compare if given.command == "compare" else _measure
    try:
        return 0 if does(given) else 1
    except (RuntimeError, ValueError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
