"""What a bench leaves behind: one JSON document, with the machine that it was measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.chart import ROOT
from bench.trial import Run

BASELINE: Final = ROOT / "bench" / "baseline.json"
STATE: Final = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "argus/bench"
"""Where results and logs go, outside of the checkout."""


class Machine(msgspec.Struct, frozen=True):
    """What figures depend on."""

    processor: str
    cores: int
    kernel: str
    python: str
    commit: str


class Results(msgspec.Struct, kw_only=True):
    """Everything that one bench found."""

    bench: str
    at: str
    machine: Machine
    setting: dict[str, float]
    runs: dict[str, list[Run]] = {}
    """By mode, in their order."""
    figures: dict[str, float] = {}
    """What budgets and comparisons are about: medians, ratios, latencies."""


def machine() -> Machine:
    """This one."""
    return Machine(
        processor=_processor(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 0,
        kernel=platform.release(),
        python=platform.python_version(),
        commit=_commit(),
    )


def _processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def empty(bench: str, setting: dict[str, float]) -> Results:
    """Results with nothing in them yet."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(bench=bench, at=at, machine=machine(), setting=setting)


def write(results: Results, path: Path) -> None:
    """Writes them, for people too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def read(path: Path) -> Results:
    """Reads them; raises OSError, and msgspec.DecodeError for another document."""
    return msgspec.json.decode(path.read_bytes(), type=Results)
