"""`argus-ingest` and `argus-stream` as processes of the host, told what the chart tells pods."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from argus_runtime import assets

from bench.chart import Chart, Values
from bench.connections import ADDRESSES
from bench.engines import HOST

_START_S: Final = 30.0
_STOP_S: Final = 60.0
_FIRST_HTTP_PORT: Final = 28080
_FIRST_OPS_PORT: Final = 28190


@dataclass(frozen=True, slots=True)
class Component:
    """The processes of one component; `ports` is where they take requests, if they do."""

    name: str
    pids: tuple[int, ...]
    ports: tuple[int, ...] = ()


def values(ingest: int) -> Values:
    """What the chart's values must say for this many ingest processes on this host."""
    return {"ingest.replicas": ingest, "ingest.trustedProxies": [f"{HOST}/32"]}


@contextmanager
def running(chart: Chart, name: str, count: int, logs: Path) -> Iterator[Component]:
    """So many processes of `ingest` or `stream`, ready; ended as SIGTERM ends them.

    Raises RuntimeError where one does not become ready, or does not end well.
    """
    started: list[subprocess.Popen[bytes]] = []
    http = [_FIRST_HTTP_PORT + number for number in range(count)]
    base = _FIRST_OPS_PORT + (100 if name == "stream" else 0)
    ops = [base + number for number in range(count)]
    try:
        for number in range(count):
            log = logs / f"{name}-{number}.log"
            own = {
                "ARGUS_HTTP__HOST": HOST,
                "ARGUS_HTTP__PORT": str(http[number]),
                "ARGUS_HTTP__DRAIN": "0",
                "ARGUS_OPS__HOST": HOST,
                "ARGUS_OPS__PORT": str(ops[number]),
            }
            started.append(_start(chart, name, own, log))
        for process, port in zip(started, ops, strict=True):
            _await_ready(name, process, port, logs)
        ports = tuple(http) if name == "ingest" else ()
        yield Component(name, tuple(process.pid for process in started), ports)
    except BaseException:
        for process in started:
            process.kill()
            process.wait()
        raise
    _stop(name, started, logs)


@contextmanager
def held(pids: Sequence[int]) -> Iterator[None]:
    """These processes stand still until the block ends."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _start(chart: Chart, name: str, own: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name(f"argus-{name}")
    told = {**chart.environment("Deployment", name), **ADDRESSES, **own}
    outside = {
        key: value
        for key, value in os.environ.items()
        if key == assets.ENVIRONMENT or not key.startswith("ARGUS_")
    }
    with log.open("wb") as output:
        return subprocess.Popen([program], env={**outside, **told}, stdout=output, stderr=output)  # noqa: S603


def _stop(name: str, started: list[subprocess.Popen[bytes]], logs: Path) -> None:
    for process in started:
        process.terminate()
    codes = [process.wait(_STOP_S) for process in started]
    if any(codes):
        raise RuntimeError(f"{name} ended with {codes}; its logs are in {logs}")


def _await_ready(name: str, process: subprocess.Popen[bytes], port: int, logs: Path) -> None:
    deadline, answer = time.monotonic() + _START_S, "nothing listens"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=2):
                return
        except urllib.error.HTTPError as error:
            answer = error.read().decode()
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{name} is not ready ({json.dumps(answer)}); its logs are in {logs}")
