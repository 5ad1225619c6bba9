"""Jobs that run replays: how one is made, and what it and its pods say. Pure.

The Job's pod is the chart's (image, environment, rights, limits); only names, labels and arguments
are ours. Its container leaves its report as the pod's termination message.
"""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from argus_contract import names
from argus_contract.replays import Report

from argus_operator.models.common import GROUP, Meta, Raw
from argus_operator.models.replay import ReplaySpec

NAMESPACE: Final = f"{GROUP}/replay-namespace"
NAME: Final = f"{GROUP}/replay"
UID: Final = f"{GROUP}/replay-uid"
PIPELINE: Final = f"{GROUP}/pipeline"
OF_JOB: Final = "batch.kubernetes.io/job-name"
"""Kubernetes' own label on the pods of a Job."""

REPORT: Final = "/dev/termination-log"
"""Where a container leaves its termination message; Kubernetes keeps 4,096 bytes of it."""
WAIT_S: Final = 300
"""Seconds that a run waits for a stream that does not get on, before it is tried again."""
_TOLD: Final = 1_000
"""Characters of what a pod said last that a condition quotes."""


class TemplateError(ValueError):
    """The template that the operator was given is no Job of one container."""


@dataclass(frozen=True, slots=True)
class Template:
    """The Job as the chart wants it."""

    manifest: Raw

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads it from JSON; raises OSError and TemplateError."""
        try:
            manifest = json.loads(path.read_text())
            containers = manifest["spec"]["template"]["spec"]["containers"]
            if manifest["kind"] != "Job" or len(containers) != 1:
                raise TemplateError(f"{path}: it must be a Job with one container")
            str(manifest["metadata"]["namespace"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise TemplateError(f"{path} holds no Job: {error!r}") from error
        return cls(manifest)

    @property
    def namespace(self) -> str:
        """Where Jobs are made."""
        found: str = self.manifest["metadata"]["namespace"]
        return found

    def job(self, meta: Meta, spec: ReplaySpec) -> dict[str, Any]:
        """The Job of a replay; made twice it has the same name."""
        made = copy.deepcopy(dict(self.manifest))
        labels = {
            NAMESPACE: meta.namespace,
            NAME: meta.name,
            UID: meta.uid,
            PIPELINE: spec.pipeline_ref.name,
        }
        made["metadata"]["name"] = job_name(meta)
        for part in (made, made["spec"]["template"]):
            metadata = part.setdefault("metadata", {})
            metadata["labels"] = metadata.get("labels", {}) | labels
        made["spec"]["template"]["spec"]["containers"][0]["args"] = arguments(meta, spec)
        return made


def job_name(meta: Meta) -> str:
    """`argus-replay-<uid8>`: a replay that is made again never meets its predecessor's Job."""
    return f"argus-replay-{names.short_uid(meta.uid)}"


def arguments(meta: Meta, spec: ReplaySpec) -> list[str]:
    """Of the console `argus`."""
    given = ["dlq", "replay", "--pipeline", f"{meta.namespace}/{spec.pipeline_ref.name}"]
    for reason in spec.filter.reasons:
        given += ["--reason", reason.value]
    for event in spec.filter.events:
        given += [f"--event={event}"]  # it may begin with a dash
    for option, moment in (("--since", spec.filter.from_), ("--until", spec.filter.to)):
        if moment is not None:
            given += [option, moment.astimezone(UTC).isoformat()]
    given += ["--dry-run"] if spec.dry_run else []
    given += ["--rate", str(spec.rate_per_second), "--wait", str(WAIT_S)]
    return [*given, "--yes", "--report", REPORT]


class Phase(StrEnum):
    """How far a Job is."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Run:
    """A Job as it is; `message` says why it failed."""

    name: str
    namespace: str
    replay: str
    uid: str
    pipeline: str
    phase: Phase
    message: str
    started: datetime
    ended: datetime | None
    failures: int
    deleting: bool

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Reads a Job with our labels."""
        meta, status = raw["metadata"], raw.get("status") or {}
        labels = meta.get("labels") or {}
        phase, said = _phase(status.get("conditions") or ())
        ended = status.get("completionTime") or (said or {}).get("lastTransitionTime")
        return cls(
            name=meta["name"],
            namespace=labels.get(NAMESPACE, ""),
            replay=labels.get(NAME, ""),
            uid=labels.get(UID, ""),
            pipeline=labels.get(PIPELINE, ""),
            phase=phase,
            message="" if said is None else f"{said.get('reason')}: {said.get('message')}",
            started=datetime.fromisoformat(status.get("startTime") or meta["creationTimestamp"]),
            ended=None if ended is None else datetime.fromisoformat(ended),
            failures=status.get("failed") or 0,
            deleting="deletionTimestamp" in meta,
        )


def _phase(conditions: Sequence[Raw]) -> tuple[Phase, Raw | None]:
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] == "Complete":
            return Phase.COMPLETE, condition
        if condition["status"] == "True" and condition["type"] == "Failed":
            return Phase.FAILED, condition
    return Phase.RUNNING, None


@dataclass(frozen=True, slots=True)
class Word:
    """What the pods of a Job say: the report of the last that ended, or its last words; and why the
    present one does not start, as a reason and a text."""

    report: Report | None = None
    last: str = ""
    waiting: tuple[str, str] | None = None


SILENT: Final = Word()
"""Of a Job that has no pod."""


def word(pods: Iterable[Raw]) -> Word:
    """What these pods of one Job say."""
    states = [_state(pod) for pod in pods]
    ended = [state["terminated"] for state in states if "terminated" in state]
    waiting = next((state["waiting"] for state in states if "waiting" in state), None)
    reason = None
    if waiting is not None:
        reason = waiting.get("reason") or "PodPending", waiting.get("message") or ""
    if not ended:
        return Word(waiting=reason)
    last = max(ended, key=lambda state: state.get("finishedAt") or "")
    text = (last.get("message") or "").strip()
    report = _report(text)
    told = text[-_TOLD:] or f"{last.get('reason', 'Error')}, exit code {last.get('exitCode')}"
    return Word(report, told if report is None else report.message, reason)


def _state(pod: Raw) -> Mapping[str, Any]:
    """The state of the pod's container, or why it has none: not scheduled, evicted."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    if containers:
        state: Mapping[str, Any] = containers[0].get("state") or {}
        return state
    if status.get("phase") in {"Failed", "Succeeded"}:
        said = f"{status.get('reason', 'Failed')}: {status.get('message', '')}"
        return {"terminated": {"message": said}}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return {"waiting": condition}
    return {}


def _report(text: str) -> Report | None:
    try:
        return msgspec.json.decode(text, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
