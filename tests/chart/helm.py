"""Runs helm and reads what it renders, for the tests of the chart."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "argus"
KUBERNETES = "1.30"
"""What the manifests are held to: the newest version whose schemas kubectl-validate carries."""

PROFILES: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "kind": ("-f", str(CHART / "values-kind.yaml")),
    "aks": ("-f", str(CHART / "values-aks.yaml")),
    "aks-with-engines": ("-f", str(CHART / "values-aks.yaml"), "--set", "engines.enabled=true"),
}
APPLICATIONS = ("operator", "ingest", "stream")
ENGINES = ("kafka", "valkey", "postgres")
REPLAY = "argus-replay"

Manifest = dict[str, Any]


@cache
def _environment() -> dict[str, str]:
    """The environment with the PATH on which hack/ keeps its pinned tools."""
    script = f'source "{ROOT}/hack/lib.sh" && printf %s "$PATH"'
    path = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    return {**os.environ, "PATH": path}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs one of the pinned tools; the caller judges its exit code."""
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=_environment(),
    )


def template(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart as release `argus` in namespace `argus`."""
    where = ("--namespace", "argus", "--kube-version", KUBERNETES)
    return run("helm", "template", "argus", str(CHART), *where, *arguments)


def refusal(*arguments: str) -> str:
    """What helm says of values that it refuses."""
    done = template(*arguments)
    assert done.returncode != 0, "helm accepts these values"
    return done.stderr


@cache
def text(*arguments: str) -> str:
    """The rendered manifests."""
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*arguments: str) -> list[Manifest]:
    """The rendered manifests, parsed."""
    return [found for found in yaml.safe_load_all(text(*arguments)) if found]


def of_kind(kind: str, manifests: list[Manifest]) -> dict[str, Manifest]:
    """The manifests of one kind by name."""
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] == kind}


def replay_job(manifests: list[Manifest]) -> Manifest:
    """The Job that the operator makes of what the chart gives it, here with a name."""
    job: Manifest = json.loads(of_kind("ConfigMap", manifests)[REPLAY]["data"]["job.json"])
    job["metadata"]["name"] = REPLAY
    return job


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, int, Manifest]]:
    """Name, replicas and pod spec of whatever makes pods, the release's test and replays too."""
    yield REPLAY, 1, replay_job(manifests)["spec"]["template"]["spec"]
    for found in manifests:
        name = found["metadata"]["name"]
        if found["kind"] in {"Deployment", "StatefulSet"}:
            yield name, found["spec"]["replicas"], found["spec"]["template"]["spec"]
        elif found["kind"] == "Pod":
            yield name, 1, found["spec"]


def container(spec: Manifest) -> Manifest:
    """The pod's only container."""
    assert "initContainers" not in spec
    (only,) = spec["containers"]
    found: Manifest = only
    return found


def millicores(quantity: str | float) -> float:
    """A CPU quantity in thousandths of a core."""
    amount = str(quantity)
    return float(amount[:-1]) if amount.endswith("m") else float(amount) * 1000
