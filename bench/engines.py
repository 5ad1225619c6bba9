"""Kafka, Valkey and PostgreSQL as containers on the host's network, configured by the chart.

Nothing but ports differs from what `helm install` runs: command, user, configuration files,
environment, shared memory and memory limit are read from the rendered manifests. Containers and
volumes are the bench's own, and are removed at the end, however it ends.

The bench's ports lie below the range from which the kernel takes those of outgoing connections, of
which a load has hundreds.
"""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.chart import Chart, Values

HOST: Final = "127.0.0.1"
KAFKA_PORT: Final = 28092
CONTROLLER_PORT: Final = 28093
VALKEY_PORT: Final = 28379
POSTGRES_PORT: Final = 28432
NAMES: Final = ("kafka", "valkey", "postgres")

CONFIGURATION: Final = "/etc/argus"
"""Where an engine's container has its configuration."""

_PREFIX: Final = "argus-bench"
_VALKEY: Final = f"\nport {VALKEY_PORT}\nbind {HOST}\n"
_START_S: Final = 90.0
_TEMPORARY: Final = "/tmp"  # noqa: S108  # the container's own, as in its pod
_UNITS: Final = {"Gi": "g", "Mi": "m"}


@dataclass(frozen=True, slots=True)
class Images:
    """References of the engines' images."""

    kafka: str
    valkey: str
    postgres: str


@dataclass(frozen=True, slots=True)
class Engine:
    """A running container and the process that is its root."""

    name: str
    container: str
    pid: int


Engines = Mapping[str, Engine]
"""By their NAMES."""


def values() -> Values:
    """What the chart's values must say for the engines to have the bench's ports."""
    kafka = "engines.kafka.settings"
    listeners = f"CLIENT://{HOST}:{KAFKA_PORT}"
    return {
        f"{kafka}.listeners": f"{listeners},CONTROLLER://localhost:{CONTROLLER_PORT}",
        kafka + r".advertised\.listeners": listeners,
        kafka + r".controller\.quorum\.voters": f"1@localhost:{CONTROLLER_PORT}",
        "engines.postgres.settings.port": str(POSTGRES_PORT),
        "engines.postgres.settings.listen_addresses": HOST,
    }


def docker(*words: str, timeout: float = 120) -> str:
    """What a docker command prints; raises RuntimeError with what it complains of."""
    done = subprocess.run(  # noqa: S603
        ["docker", *words],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"docker {words[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def listens(port: int) -> bool:
    """Whether something takes connections at this port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def running(
    chart: Chart, images: Images, scratch: Path, names: Sequence[str] = NAMES
) -> Iterator[Engines]:
    """These, until the block ends. `scratch` holds their configuration files meanwhile."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(_engine(chart, name, getattr(images, name), scratch))
            for name in names
        }


_PORTS: Final = {"kafka": KAFKA_PORT, "valkey": VALKEY_PORT, "postgres": POSTGRES_PORT}


@contextmanager
def _engine(chart: Chart, name: str, image: str, scratch: Path) -> Iterator[Engine]:
    container = f"{_PREFIX}-{name}"
    _remove(container)
    _refuse_taken(name, _PORTS[name])
    configuration = _write(chart, name, scratch / name)
    try:
        docker("volume", "create", container)
        _start(chart, name, image, configuration)
        _await(container, _PORTS[name])
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
        yield Engine(name, container, pid)
    finally:
        _keep_log(container, scratch / f"{name}.log")
        _remove(container)


def _keep_log(container: str, file: Path) -> None:
    with file.open("w") as log:
        subprocess.run(  # noqa: S603
            ["docker", "logs", container],  # noqa: S607
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )


def _refuse_taken(name: str, port: int) -> None:
    if listens(port):
        raise RuntimeError(f"something listens on {HOST}:{port}, where {name} is to run")


def _remove(container: str) -> None:
    for words in (("rm", "-fv", container), ("volume", "rm", "-f", container)):
        docker(*words)


def _write(chart: Chart, name: str, directory: Path) -> Path:
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    for file, text in chart.files(name).items():
        # the only engine whose settings the chart's values do not reach
        changed = text + _VALKEY if file == "valkey.conf" else text
        (directory / file).write_text(changed)
    return directory


def _start(chart: Chart, name: str, image: str, configuration: Path) -> None:
    """`docker run` as the kubelet would."""
    spec = chart.find("StatefulSet", name)["spec"]["template"]["spec"]
    container = spec["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    uid = str({**spec.get("securityContext", {}), **container["securityContext"]}["runAsUser"])
    own, data = f"{_PREFIX}-{name}", mounts["data"]
    shared = [v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if v["name"] == "shared"]
    volume = ("--volume", f"{own}:{data}")
    docker("run", "--rm", "--user", "0", "--entrypoint", "chown", *volume, image, uid, data)
    environment = chart.environment("StatefulSet", name)
    words = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
    command: list[str] = [*container["command"], *container.get("args", ())]
    docker(
        *("run", "--detach", "--name", own, "--network", "host", "--user", f"{uid}:{uid}"),
        *("--memory", _size(container["resources"]["limits"]["memory"]), *volume, *words),
        *(
            "--volume",
            f"{configuration}:{CONFIGURATION}:ro",
            "--tmpfs",
            f"{_TEMPORARY}:mode=1777,exec",
        ),
        *(word for size in shared for word in ("--shm-size", _size(size))),
        *("--entrypoint", command[0], image, *command[1:]),
    )


def _size(kubernetes: str) -> str:
    """Kubernetes' way to write a size, as Docker takes it."""
    return kubernetes[:-2] + _UNITS[kubernetes[-2:]]


def _await(container: str, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if listens(port):
            return
        if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
            break
        time.sleep(0.2)
    raise RuntimeError(f"{container} does not answer: {docker('logs', '--tail', '20', container)}")
