"""Asks Kubernetes how ARGUS's pods are, where a KUBECONFIG and kubectl are at hand."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

from argus_cli.doctor.findings import Finding, unasked, well, wrong
from argus_cli.settings import Settings

SUBJECT: Final = "pods"
_SELECTOR: Final = "app.kubernetes.io/name=argus"
_VARIABLE: Final = "KUBECONFIG"


async def examine(_settings: Settings, limit: float) -> AsyncIterator[Finding]:
    """Every pod of every ARGUS in the cluster."""
    kubectl = shutil.which("kubectl")
    if not os.environ.get(_VARIABLE) or kubectl is None:
        yield unasked(SUBJECT, f"{_VARIABLE} is not set, or there is no kubectl")
        return
    arguments = ("get", "pods", "-A", "-l", _SELECTOR, "-o", "json", f"--request-timeout={limit}s")
    process = await asyncio.create_subprocess_exec(
        kubectl, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(2 * limit):
            printed, complaint = await process.communicate()
    except TimeoutError:
        yield wrong(SUBJECT, "Kubernetes does not answer in time", "Does the cluster run?")
        return
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        said = complaint.decode("utf-8", "replace").strip().splitlines()
        yield wrong(SUBJECT, f"kubectl: {said[-1] if said else 'failed'}", "Does the cluster run?")
        return
    pods = json.loads(printed)["items"]
    if not pods:
        yield wrong(
            SUBJECT, "the cluster has none of ARGUS", f"Is {_VARIABLE} that of its cluster?"
        )
        return
    ill = [finding for pod in pods if (finding := of_pod(pod)) is not None]
    for finding in ill:
        yield finding
    if not ill:
        yield well(SUBJECT, f"all {len(pods)} are ready")


def of_pod(pod: Mapping[str, Any]) -> Finding | None:
    """What is not well with a pod, as Kubernetes describes it."""
    meta, status = pod["metadata"], pod.get("status", {})
    if status.get("phase") == "Succeeded" or _ready(status):
        return None
    name = f"pod {meta['namespace']}/{meta['name']}"
    look = f"`kubectl -n {meta['namespace']} describe pod {meta['name']}` and its log say more."
    return wrong(name, _reason(status), look)


def _ready(status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _reason(status: Mapping[str, Any]) -> str:
    """What a container waits for, else what condition does not hold, else the phase."""
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            restarts = container.get("restartCount", 0)
            return f"{waiting.get('reason', 'it waits')}, after {restarts} restarts"
    for condition in status.get("conditions", ()):
        if condition["status"] != "True" and condition.get("message"):
            return str(condition["message"])
    return f"it is {status.get('phase', 'in no known phase')} and not ready"
