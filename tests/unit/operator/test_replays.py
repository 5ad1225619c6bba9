"""Replays: from a resource to a Job, and from its end to a status."""

from typing import Any

import pytest
from argus_contract.replays import Report
from argus_operator.errors import UnavailableError
from argus_operator.jobs import Phase, Word
from argus_operator.models.common import FINALIZER
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.replay import PLURAL as REPLAYS
from argus_operator.reconcile.replays import ReplayReconciler
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import ReplayKey

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import WEB, World

AGAIN = "again"
KEY = ReplayKey(NAMESPACE, AGAIN)
REPORT = Report(
    matched=10,
    passing=6,
    replayed=6,
    stored=4,
    duplicate=1,
    failed=1,
    refused={"too_old": 3},
    settled=1,
    message="10 letters matched.",
)


class Bench:
    """A world with a pipeline that is Ready, and a replay of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster, self.jobs = world.cluster, world.jobs

    def apply(self, name: str = AGAIN, **fields: Any) -> None:
        self.cluster.apply(REPLAYS, name, {"pipelineRef": {"name": WEB}, **fields})

    async def look(self, name: str = AGAIN) -> Verdict:
        return await self.world.replays.reconcile(ReplayKey(NAMESPACE, name))

    def condition(self, type_: str = "Running", name: str = AGAIN) -> tuple[str, str]:
        return self.cluster.condition(REPLAYS, name, type_)

    @property
    def status(self) -> dict[str, Any]:
        return self.cluster.status(REPLAYS, AGAIN)

    @property
    def job(self) -> str:
        (only,) = self.jobs.held
        return only

    def end(self, phase: Phase, word: Word) -> None:
        self.jobs.words[self.job] = word
        self.jobs.change(self.job, phase=phase, ended=self.jobs.now, message="because")


@pytest.fixture
async def bench(running: World) -> Bench:
    made = Bench(running)
    made.apply()
    return made


class TestStart:
    async def test_a_job_is_made_and_the_replay_held(self, bench: Bench) -> None:
        verdict = await bench.look()

        assert bench.condition() == ("False", "Starting")
        assert verdict.again_in is not None
        found = bench.cluster.stored[(REPLAYS, NAMESPACE, AGAIN)]
        assert found["metadata"]["finalizers"] == [FINALIZER]
        assert bench.jobs.manifests[0]["metadata"]["namespace"] == "argus"

    async def test_nothing_is_made_for_what_is_not_held(self, bench: Bench) -> None:
        bench.cluster.refuse_finalizers = True
        with pytest.raises(Exception, match="modified"):
            await bench.look()

        assert not bench.jobs.held

    async def test_while_it_runs_it_says_so(self, bench: Bench) -> None:
        for _ in range(2):
            verdict = await bench.look()

        assert bench.condition() == ("True", "JobRunning")
        assert bench.condition("Complete") == ("False", "NotYet")
        assert bench.status["job"] == bench.job
        assert bench.status["startedAt"] == "2026-05-01T12:00:00Z"
        assert bench.status["observedGeneration"] == 1
        assert verdict.again_in is not None

    async def test_a_look_more_makes_and_writes_nothing(self, bench: Bench) -> None:
        for _ in range(2):
            await bench.look()
        writes = bench.cluster.status_writes
        await bench.look()

        assert len(bench.jobs.manifests) == 1
        assert bench.cluster.status_writes == writes

    async def test_a_crash_after_the_job_was_made_is_no_second_job(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def crash(*_: object) -> None:
            raise away("KubernetesUnavailable")

        with monkeypatch.context() as patched:
            patched.setattr(bench.cluster, "patch_status", crash)
            with pytest.raises(Exception, match="no answer"):
                await bench.look()
        await bench.look()

        assert len(bench.jobs.manifests) == 1
        assert bench.condition() == ("True", "JobRunning")

    async def test_a_job_that_is_refused_is_told_and_tried_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(_: object) -> None:
            raise UnavailableError("KubernetesRefused", "403: exceeded quota")

        with monkeypatch.context() as patched:
            patched.setattr(bench.jobs, "create", refuse)
            verdict = await bench.look()
        assert verdict.retry
        assert bench.condition() == ("False", "KubernetesRefused")

        await bench.look()
        assert bench.condition() == ("False", "Starting")
        assert bench.jobs.held

    async def test_a_pod_that_does_not_start_is_told(self, bench: Bench) -> None:
        await bench.look()
        bench.jobs.words[bench.job] = Word(waiting=("ImagePullBackOff", "no such image"))
        await bench.look()

        assert bench.condition() == ("False", "ImagePullBackOff")

    async def test_an_attempt_that_failed_is_told(self, bench: Bench) -> None:
        await bench.look()
        bench.jobs.words[bench.job] = Word(last="no broker")
        bench.jobs.change(bench.job, failures=1)
        await bench.look()

        (running,) = (c for c in bench.status["conditions"] if c["type"] == "Running")
        assert running["status"] == "True"
        assert "no broker" in running["message"]


class TestWaiting:
    async def test_for_a_pipeline_that_is_not_there(self, bench: Bench) -> None:
        bench.apply("early", pipelineRef={"name": "later"})
        verdict = await bench.look("early")
        assert bench.condition(name="early") == ("False", "PipelineNotFound")
        assert verdict.again_in is not None
        assert not bench.jobs.held

        bench.world.pipeline("later", {"match": ["x"]})
        await bench.world.settle()
        await bench.look("early")
        assert bench.jobs.held

    async def test_for_a_pipeline_that_is_leaving(self, bench: Bench) -> None:
        bench.cluster.delete(PIPELINES, WEB)
        await bench.look()

        assert bench.condition() == ("False", "PipelineNotFound")

    @pytest.mark.parametrize("adapter", ["kafka", "database"])
    async def test_for_a_pipeline_that_is_not_ready(self, bench: Bench, adapter: str) -> None:
        getattr(bench.world, adapter).error = away("Away")
        await bench.world.reconcile()
        await bench.look()
        assert bench.condition() == ("False", "PipelineNotReady")

        getattr(bench.world, adapter).error = None
        await bench.world.settle()
        await bench.look()
        assert bench.jobs.held

    async def test_for_a_pipeline_that_nobody_has_looked_at(self, bench: Bench) -> None:
        bench.world.pipeline("new", {"match": ["x"]})
        bench.apply("early", pipelineRef={"name": "new"})
        await bench.look("early")

        assert bench.condition(name="early") == ("False", "PipelineNotReady")

    async def test_for_a_pipeline_whose_spec_is_not_applied_yet(self, bench: Bench) -> None:
        bench.world.pipeline(spec={"storage": {"retention": "365d"}})
        await bench.look()
        assert bench.condition() == ("False", "PipelineNotReady")
        assert not bench.jobs.held

        await bench.world.settle()
        await bench.look()
        assert bench.jobs.held

    async def test_for_another_replay_of_the_same_pipeline(self, bench: Bench) -> None:
        await bench.look()
        bench.apply("second")
        await bench.look("second")
        assert bench.condition(name="second") == ("False", "Queued")
        assert len(bench.jobs.held) == 1

        bench.end(Phase.COMPLETE, Word(REPORT, REPORT.message))
        await bench.look("second")
        assert len(bench.jobs.held) == 2

    async def test_not_for_one_of_another_pipeline(self, bench: Bench) -> None:
        bench.world.pipeline("other", {"match": ["x"]})
        await bench.world.settle()
        await bench.look()
        bench.apply("second", pipelineRef={"name": "other"})
        await bench.look("second")

        assert len(bench.jobs.held) == 2

    async def test_an_operator_without_a_template_says_so(self, bench: Bench) -> None:
        status = StatusWriter(bench.cluster, lambda: bench.world.now)
        await ReplayReconciler(bench.cluster, None, None, status).reconcile(KEY)

        assert bench.condition() == ("False", "NotConfigured")


class TestEnd:
    async def test_the_report_is_the_status(self, bench: Bench) -> None:
        await bench.look()
        bench.end(Phase.COMPLETE, Word(REPORT, REPORT.message))
        verdict = await bench.look()

        assert verdict == Verdict()
        assert bench.condition("Complete") == ("True", "Replayed")
        assert bench.condition("Failed") == ("False", "Replayed")
        assert bench.condition() == ("False", "Finished")
        names = ("matched", "passing", "replayed", "stored", "duplicate", "failed")
        assert [bench.status[name] for name in names] == [10, 6, 6, 4, 1, 1]
        assert (bench.status["settled"], bench.status["skipped"]) == (1, 0)
        assert bench.status["refused"] == {
            "total": 3,
            "reasons": [{"reason": "too_old", "count": 3}],
        }
        assert bench.status["completedAt"] == "2026-05-01T12:00:00Z"
        assert (AGAIN, "Normal", "Replayed", "10 letters matched.") in bench.cluster.events

    async def test_a_report_that_went_with_its_pod_is_missed(self, bench: Bench) -> None:
        await bench.look()
        bench.end(Phase.COMPLETE, Word())
        await bench.look()

        assert bench.condition("Complete") == ("True", "Unreported")
        assert "matched" not in bench.status

    async def test_a_failure_tells_what_was_said_last(self, bench: Bench) -> None:
        await bench.look()
        bench.end(Phase.FAILED, Word(Report(matched=7, message="no broker"), "no broker"))
        await bench.look()

        assert bench.condition("Failed") == ("True", "JobFailed")
        assert bench.condition("Complete") == ("False", "JobFailed")
        assert bench.status["matched"] == 7
        (note,) = bench.cluster.notes(AGAIN)
        assert "no broker" in note
        assert (AGAIN, "Warning", "JobFailed") in {event[:3] for event in bench.cluster.events}

    @pytest.mark.parametrize("phase", [Phase.COMPLETE, Phase.FAILED])
    async def test_what_is_over_is_never_run_again(self, bench: Bench, phase: Phase) -> None:
        await bench.look()
        bench.end(phase, Word(REPORT, "m"))
        await bench.look()
        bench.jobs.held.clear()
        for _ in range(2):
            await bench.look()

        assert len(bench.jobs.manifests) == 1

    async def test_a_job_that_was_deleted_by_hand_is_made_again(self, bench: Bench) -> None:
        for _ in range(2):
            await bench.look()
        await bench.jobs.delete(bench.jobs.held[bench.job])
        await bench.look()
        assert bench.condition() == ("False", "JobDeleted")

        bench.jobs.held.clear()
        await bench.look()
        assert len(bench.jobs.manifests) == 2


class TestDeletion:
    async def test_a_run_is_ended_before_its_replay_goes(self, bench: Bench) -> None:
        for _ in range(2):
            await bench.look()
        bench.cluster.delete(REPLAYS, AGAIN)
        for _ in range(2):
            verdict = await bench.look()

        assert bench.jobs.held[bench.job].deleting
        assert bench.condition() == ("False", "Stopping")
        assert verdict.again_in is not None

        bench.jobs.held.clear()
        await bench.look()
        assert (REPLAYS, NAMESPACE, AGAIN) not in bench.cluster.stored

    async def test_one_that_is_over_takes_its_job_along(self, bench: Bench) -> None:
        await bench.look()
        bench.end(Phase.COMPLETE, Word(REPORT, "m"))
        await bench.look()
        bench.cluster.delete(REPLAYS, AGAIN)
        await bench.look()

        assert bench.jobs.held[bench.job].deleting

    async def test_the_job_of_a_replay_that_went_without_its_cleanup_is_ended(
        self, bench: Bench
    ) -> None:
        await bench.look()
        del bench.cluster.stored[(REPLAYS, NAMESPACE, AGAIN)]
        assert KEY in await bench.world.replays.outstanding()
        await bench.look()

        assert bench.jobs.held[bench.job].deleting

    async def test_so_is_that_of_a_predecessor_of_the_same_name(self, bench: Bench) -> None:
        await bench.look()
        before = bench.job
        del bench.cluster.stored[(REPLAYS, NAMESPACE, AGAIN)]
        bench.apply()
        await bench.look()

        assert bench.jobs.held[before].deleting
        assert bench.condition() == ("False", "Queued")

    async def test_nothing_is_made_for_what_leaves(self, bench: Bench) -> None:
        bench.cluster.apply(
            REPLAYS, "held", {"pipelineRef": {"name": WEB}}, finalizers=["example.org/x"]
        )
        bench.cluster.delete(REPLAYS, "held")
        await bench.look("held")

        assert not bench.jobs.held


class TestOutstanding:
    async def test_what_is_over_is_not(self, bench: Bench) -> None:
        assert await bench.world.replays.outstanding() == {KEY}
        await bench.look()
        bench.end(Phase.COMPLETE, Word(REPORT, "m"))
        await bench.look()
        assert await bench.world.replays.outstanding() == set()

        bench.cluster.delete(REPLAYS, AGAIN)
        assert await bench.world.replays.outstanding() == {KEY}
