"""One ArgusReplay, from wherever its Job is to the end that its status tells.

The Job is the truth while the replay is not over, the status once it is: a Job that goes missing is
made again, unless the replay is complete or failed. Nothing is published twice by that, since the
console skips what is settled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from argus_contract.replays import Report

from argus_operator import conditions
from argus_operator.conditions import COMPLETE, FAILED, READY, RUNNING, SCHEMAS_READY, Finding
from argus_operator.errors import OperatorError
from argus_operator.jobs import SILENT, Phase, Run, Template, Word
from argus_operator.models import units
from argus_operator.models.common import ConditionStatus, ReasonCounts
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.replay import PLURAL as REPLAYS
from argus_operator.ports import Cluster, Jobs
from argus_operator.reconcile.attempt import attempt
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Pipeline, Replay, ReplayKey, key_of_replay

_WATCH_S: Final = 2.0
"""Between two looks at a Job that runs or ends."""
_WAIT_S: Final = 5.0
"""Between two looks at what a replay waits for."""
_COUNTS: Final = ("matched", "passing", "replayed", "stored", "duplicate", "failed")
_LEFT: Final = ("skipped", "settled")


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is around a replay; `run` is its own Job, `rival` another on its pipeline."""

    pipeline: Pipeline | None
    run: Run | None = None
    word: Word = SILENT
    rival: Run | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what to say, and when to look again."""

    findings: Sequence[Finding]
    facts: Mapping[str, Any]
    create: bool = False
    again_in: float | None = None


def plan(replay: Replay, observed: Observed) -> Plan:
    """What follows from what there is. Pure."""
    run = observed.run
    if run is None:
        why_not = _obstacle(replay, observed)
        if why_not is not None:
            return Plan(_conditions(why_not), {}, again_in=_WAIT_S)
        starting = conditions.bad(RUNNING, "Starting", "its Job is being made")
        return Plan(_conditions(starting), {}, create=True, again_in=_WATCH_S)
    facts: dict[str, Any] = {"job": run.name, "startedAt": units.instant(run.started)}
    if run.deleting:
        message = f"Job {run.name} is being deleted; it is made again once it is gone"
        going = conditions.bad(RUNNING, "JobDeleted", message)
        return Plan(_conditions(going), facts, again_in=_WATCH_S)
    match run.phase:
        case Phase.RUNNING:
            return Plan(_conditions(_progress(run, observed.word)), facts, again_in=_WATCH_S)
        case Phase.COMPLETE:
            return Plan(_completed(observed.word), facts | _outcome(run, observed.word.report))
        case Phase.FAILED:
            return Plan(_failed(run, observed.word), facts | _outcome(run, observed.word.report))


def _obstacle(replay: Replay, observed: Observed) -> Finding | None:
    """Why the Job is not made now."""
    if replay.spec is None:
        return conditions.bad(RUNNING, "InvalidSpec", replay.problem or "")
    name, pipeline = replay.spec.pipeline_ref.name, observed.pipeline
    if pipeline is None or pipeline.meta.deleting:
        where = replay.meta.namespace
        message = f"there is no ArgusPipeline {name!r} in namespace {where!r}: it is waited for"
        return conditions.bad(RUNNING, "PipelineNotFound", message)
    known = {condition.type: condition for condition in pipeline.conditions}
    for needed in (READY, SCHEMAS_READY):
        found = known.get(needed)
        if found is None or found.observed_generation != pipeline.meta.generation:
            said = "its spec has still to be applied"
        elif found.status is not ConditionStatus.TRUE:
            said = found.message
        else:
            continue
        message = f"pipeline {name!r} is not {needed}, and waited for: {said}"
        return conditions.bad(RUNNING, "PipelineNotReady", message)
    if observed.rival is not None:
        message = f"replay {observed.rival.replay!r} of the same pipeline runs: it is waited for"
        return conditions.bad(RUNNING, "Queued", message)
    return None


def _progress(run: Run, word: Word) -> Finding:
    before = f"; attempt {run.failures} ended with: {word.last}" if run.failures else ""
    if word.waiting is not None:
        reason, message = word.waiting
        return conditions.bad(
            RUNNING, reason, f"the pod of Job {run.name} waits: {message}{before}"
        )
    return conditions.good(RUNNING, "JobRunning", f"Job {run.name} runs{before}")


def _conditions(running: Finding) -> list[Finding]:
    """For a replay that is not over."""
    return [
        conditions.bad(COMPLETE, "NotYet", "it is not over"),
        conditions.bad(FAILED, "NotYet", "it is not over"),
        running,
    ]


def _completed(word: Word) -> list[Finding]:
    reason, message = "Replayed", word.last
    if word.report is None:
        reason = "Unreported"
        message = "its Job ended well, but its pod and with it the figures are gone"
    return [
        conditions.good(COMPLETE, reason, message),
        conditions.bad(FAILED, "Replayed", "it did not fail"),
        conditions.bad(RUNNING, "Finished", "its Job has ended"),
    ]


def _failed(run: Run, word: Word) -> list[Finding]:
    said = f"; the last attempt said: {word.last}" if word.last else ""
    message = (
        f"Job {run.name}: {run.message}{said}. What was replayed stays so: make another replay, "
        "which goes on where this one ended"
    )
    return [
        conditions.bad(COMPLETE, "JobFailed", "it failed"),
        conditions.good(FAILED, "JobFailed", message),
        conditions.bad(RUNNING, "Finished", "its Job has ended"),
    ]


def _outcome(run: Run, report: Report | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if run.ended is not None:
        facts["completedAt"] = units.instant(run.ended)
    if report is not None:
        facts |= {name: getattr(report, name) for name in (*_COUNTS, *_LEFT)}
        refused = ReasonCounts.of(report.refused)
        facts["refused"] = refused.model_dump(mode="json", by_alias=True)
    return facts


def _is_over(replay: Replay) -> bool:
    return replay.has(COMPLETE) or replay.has(FAILED)


class ReplayReconciler:
    """Runs replays; one look at a time, so that no two begin on one pipeline at once."""

    def __init__(
        self, cluster: Cluster, jobs: Jobs | None, template: Template | None, status: StatusWriter
    ) -> None:
        """Without a template no replay is run, and each says so."""
        self._cluster = cluster
        self._jobs = jobs
        self._template = template
        self._status = status

    async def outstanding(self) -> set[ReplayKey]:
        """Replays that are not over, and those that a Job is left of; raises OperatorError."""
        listed = [Replay.parse(raw) for raw in await self._cluster.objects(REPLAYS)]
        keys = {key_of_replay(r.raw) for r in listed if r.meta.deleting or not _is_over(r)}
        uids = {replay.meta.uid for replay in listed}
        left = [run for run in await self._runs() if run.uid not in uids]
        return keys | {ReplayKey(run.namespace, run.replay) for run in left}

    async def _runs(self) -> list[Run]:
        return [] if self._jobs is None else await self._jobs.runs()

    async def reconcile(self, key: ReplayKey) -> Verdict:
        """One look and what follows from it; raises OperatorError where a step fails."""
        raw = await self._cluster.get(REPLAYS, key.namespace, key.name)
        replay = None if raw is None else Replay.parse(raw)
        uid = None if replay is None else replay.meta.uid
        runs = await self._runs()
        for stray in runs:
            if (stray.namespace, stray.replay) == (key.namespace, key.name) and stray.uid != uid:
                await self._end(stray)
        if replay is None:
            return Verdict()
        own = next((run for run in runs if run.uid == uid), None)
        if replay.meta.deleting:
            return await self._leave(replay, own)
        if _is_over(replay):
            return Verdict()
        return await self._live(replay, own, runs)

    async def _end(self, run: Run) -> None:
        if self._jobs is not None and not run.deleting:
            await self._jobs.delete(run)

    async def _leave(self, replay: Replay, own: Run | None) -> Verdict:
        """Lets a replay go once its Job, and so its pod, has ended."""
        if not replay.meta.held:
            return Verdict()
        if own is None:
            await self._cluster.set_finalizer(REPLAYS, replay.meta, present=False)
            return Verdict()
        await self._end(own)
        stopping = conditions.bad(RUNNING, "Stopping", f"deletion waits for the end of {own.name}")
        await self._status.write(replay, _conditions(stopping), {})
        return Verdict(again_in=_WATCH_S)

    async def _live(self, replay: Replay, own: Run | None, runs: Sequence[Run]) -> Verdict:
        if self._jobs is None or self._template is None:
            message = "this operator was given no template for Jobs (ARGUS_REPLAY_TEMPLATE)"
            disabled = conditions.bad(RUNNING, "NotConfigured", message)
            await self._status.write(replay, _conditions(disabled), {})
            return Verdict()
        if not replay.meta.held:
            await self._cluster.set_finalizer(REPLAYS, replay.meta, present=True)
        planned = plan(replay, await self._observe(self._jobs, replay, own, runs))
        facts = {"observedGeneration": replay.meta.generation, **planned.facts}
        if planned.create and replay.spec is not None:
            job = self._template.job(replay.meta, replay.spec)
            made = await attempt(self._jobs.create(job))
            if isinstance(made, OperatorError):
                refused = conditions.bad(RUNNING, made.reason, made.message)
                await self._status.write(replay, _conditions(refused), facts)
                return Verdict(retry=True)
        await self._status.write(replay, planned.findings, facts)
        return Verdict(again_in=planned.again_in)

    async def _observe(
        self, jobs: Jobs, replay: Replay, own: Run | None, runs: Sequence[Run]
    ) -> Observed:
        if own is not None:
            return Observed(None, own, await jobs.word(own))
        if replay.spec is None:
            return Observed(None)
        namespace, name = replay.meta.namespace, replay.spec.pipeline_ref.name
        raw = await self._cluster.get(PIPELINES, namespace, name)
        rival = next(
            (
                run
                for run in runs
                if (run.namespace, run.pipeline) == (namespace, name) and run.phase is Phase.RUNNING
            ),
            None,
        )
        return Observed(None if raw is None else Pipeline.parse(raw), rival=rival)
