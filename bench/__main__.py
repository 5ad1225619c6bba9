"""`python -m bench`: what `make bench-local` and its sisters run."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from bench import budgets, local, report, results
from bench.engines import Images
from bench.local import Setting


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (("local", "the whole system on this host, held against its budgets"),):
        _add_setting(commands.add_parser(name, help=does, description=does))
    return parser


def _add_setting(parser: argparse.ArgumentParser) -> None:
    for engine in ("kafka", "valkey", "postgres"):
        parser.add_argument(f"--{engine}-image", required=True, help="reference of its image")
    parser.add_argument("--runs", type=int, default=5, help="runs of each mode (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run (%(default)s)")
    parser.add_argument("--ingest", type=int, default=1, help="its processes (%(default)s)")
    parser.add_argument("--stream", type=int, default=1, help="its processes (%(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="of a topic (%(default)s)")
    parser.add_argument("--connections", type=int, default=256, help="(%(default)s)")
    parser.add_argument("--batch-connections", type=int, default=32, help="(%(default)s)")
    parser.add_argument("--addresses", type=int, default=1000, help="of clients (%(default)s)")
    parser.add_argument("--mode", choices=budgets.MODES, action="append", help="only this (both)")
    parser.add_argument("--quick", action="store_true", help="one run of 5 s: for development")
    parser.add_argument("--output", type=Path, help="where the JSON goes")


def _setting(given: argparse.Namespace) -> Setting:
    return Setting(
        images=Images(given.kafka_image, given.valkey_image, given.postgres_image),
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
    )


def _local(given: argparse.Namespace) -> bool:
    setting = _setting(given)
    found = results.empty("local", setting.figures())
    scratch = Path(tempfile.mkdtemp(prefix="argus-bench-"))
    report.progress(f"logs and configuration are in {scratch}")
    try:
        with local.house(setting, scratch) as house:
            asyncio.run(local.run(setting, house, found))
    finally:
        output = given.output or results.STATE / "local.json"
        results.write(found, output)
    report.show(found)
    report.progress(f"all of it is in {output}")
    return report.conclude(budgets.judge(budgets.LOCAL, found.figures))


def main() -> int:
    """0 where every budget was met, 1 where not or where the bench could not be run."""
    given = _parser().parse_args()
    try:
        return 0 if _local(given) else 1
    except (RuntimeError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
