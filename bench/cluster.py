"""`make bench`: the installed system on the kind cluster, through its ports on 127.0.0.1.

It makes tenants in a namespace of their own, gone at the end. Pods are processes of this host,
found below the node's container by what they were started with.
"""

import asyncio
import base64
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from argus_cli.errors import CliError
from argus_cli.registry import tenant_of
from argus_cli.settings import Settings
from argus_contract.keys import KeyKind

from bench import accounting, local, report
from bench.budgets import DEMANDED
from bench.engines import docker
from bench.house import House, Setting
from bench.load import refused
from bench.provision import Tenant
from bench.results import Results
from bench.session import Session, session
from bench.trial import measure

_MARGIN: Final = 0.02
"""By how much more is offered than has to be borne."""
_READY: Final = "180s"
_TIMEOUT: Final = 240
_PIPELINE: Final = "bench"
_LIMITS: Final = {
    "perKey": {"rate": 1_000_000, "burst": 10_000_000},
    "perIP": {"rate": 1_000_000, "burst": 10_000_000},
}
"""Above every load: each request is judged and none refused."""
_STORAGE: Final = {"retention": {"bytes": "2Gi"}}
_PROGRAMS: Final[Mapping[str, Sequence[str]]] = {
    "ingest": ("argus-ingest",),
    "kafka": ("kafka.Kafka",),
    "redis": ("valkey-server", "redis-server"),
    "stream": ("argus-stream",),
    "postgres": ("postgres",),
}
"""The word of a command line that tells a component, by its last path segment."""


def conduct(setting: Setting, scratch: Path, results: Results) -> None:
    """The whole bench; `results` is filled as it goes."""
    del scratch
    with installed(setting) as house:
        asyncio.run(_run(setting, house, results))


async def _run(setting: Setting, house: House, results: Results) -> None:
    async with session(setting, house) as opened:
        await local.load(opened, results)
        for mode in setting.modes:
            results.figures |= await bear(opened, mode)


async def bear(opened: Session, mode: str) -> dict[str, float]:
    """Events in a second that are accepted and stored where a little more than demanded comes."""
    rate = (1 + _MARGIN) * DEMANDED[mode]
    seconds = opened.setting.latency_seconds
    report.progress(f"{mode}: {rate:,.0f} events/s for {seconds:.0f} s")
    run = await measure(opened.system(mode), opened.offer(mode, mode, events=rate), seconds)
    report.progress(report.run_line(mode, 1, run))
    return {
        f"{mode}.borne": run.sustained,
        f"{mode}.borne_wrong": float(run.lost + run.twice + refused(run.statuses)),
    }


@contextmanager
def installed(setting: Setting) -> Iterator[House]:
    """The cluster that the environment of `make env` leads to, with tenants of the bench's own.

    Raises RuntimeError where anything of it is not there.
    """
    told = Settings()
    namespace = f"argus-bench-{secrets.token_hex(3)}"
    report.progress(f"making tenants in namespace {namespace}")
    try:
        _kubectl("apply", "-f", "-", given=json.dumps(manifests(namespace, setting)))
        kinds = ("arguspipeline", "argustenant")
        for mode in setting.modes:
            named = [f"{kind}/{mode}" for kind in kinds]
            _kubectl(
                "wait", "-n", namespace, "--for=condition=Ready", f"--timeout={_READY}", *named
            )
        tenants = {mode: [_tenant(told, namespace, mode)] for mode in setting.modes}
        yield House(
            database={"dsn": told.require_database(), "server_settings": _NAME},
            redis=told.require_redis(),
            ports=(urlsplit(told.require_url()).port or 80,),
            roots=roots(accounting.table(), _node(), accounting.command),
            tenants=tenants,
        )
    except CliError as error:
        raise RuntimeError(str(error)) from error
    finally:
        _kubectl("delete", "namespace", namespace, "--ignore-not-found", f"--timeout={_READY}")


_NAME: Final = {"application_name": "argus-bench"}


def manifests(namespace: str, setting: Setting) -> dict[str, Any]:
    """The namespace, and a tenant with a pipeline for each mode."""
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    ]
    for mode in setting.modes:
        where = {"name": mode, "namespace": namespace}
        tenant = {
            "rateLimit": _LIMITS,
            "apiKeys": [{"name": "default", "kind": str(KeyKind.PUBLIC)}],
            "deletionPolicy": "Delete",
        }
        pipeline = {
            "tenantRef": {"name": mode},
            "topic": {"partitions": setting.partitions, **_STORAGE},
            "deletionPolicy": "Delete",
        }
        for kind, spec in (("ArgusTenant", tenant), ("ArgusPipeline", pipeline)):
            items.append(
                {"apiVersion": "argus.dev/v1alpha1", "kind": kind, "metadata": where, "spec": spec}
            )
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _tenant(told: Settings, namespace: str, name: str) -> Tenant:
    secret = json.loads(
        _kubectl("get", "secret", "-n", namespace, f"{name}-argus-keys", "-o", "json")
    )
    key = base64.b64decode(secret["data"]["default"]).decode()
    document = asyncio.run(tenant_of(key, told.require_kafka(), told.registry_topic))
    return Tenant(document, key)


def _node() -> int:
    container = f"{os.environ.get('CLUSTER') or 'argus'}-control-plane"
    return int(docker("inspect", "--format", "{{.State.Pid}}", container))


def roots(
    table: accounting.Table, node: int, command: accounting.Command
) -> dict[str, tuple[int, ...]]:
    """Each component's process trees below the node's; raises RuntimeError where one is missing."""
    found: dict[str, list[int]] = {name: [] for name in _PROGRAMS}
    component = {
        process.pid: _component(command(process.pid)) for process in accounting.tree(table, node)
    }
    for pid, name in component.items():
        if name is not None and component.get(table[pid].parent) != name:
            found[name].append(pid)
    missing = [name for name, pids in found.items() if not pids]
    if missing:
        raise RuntimeError(f"on the node no process is {', '.join(missing)}")
    return {name: tuple(sorted(pids)) for name, pids in found.items()}


def _component(words: Sequence[str]) -> str | None:
    """Which component a command line is of: its program, or the script that Python runs."""
    for word in words[:2] if words and "python" in words[0] else _telling(words):
        for name, programs in _PROGRAMS.items():
            if word.rpartition("/")[2] in programs:
                return name
    return None


def _telling(words: Sequence[str]) -> Sequence[str]:
    """A Java program is told by its main class; others by what they are started as."""
    if not words:
        return ()
    first = words[0].split(" ")[0].rstrip(":")
    return words if first.rpartition("/")[2] == "java" else (first,)


def _kubectl(*words: str, given: str | None = None) -> str:
    done = subprocess.run(  # noqa: S603
        ["kubectl", *words],  # noqa: S607
        input=given,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kubectl {words[0]}: {done.stderr.strip()[-1000:]}")
    return done.stdout
