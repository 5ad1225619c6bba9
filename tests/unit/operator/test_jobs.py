"""Jobs of replays: what is asked for, and what they and their pods say."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from argus_cli.dlq import app as dlq
from argus_contract.replays import Report
from argus_operator import jobs
from argus_operator.jobs import Phase, Run, Template, TemplateError
from argus_operator.models.common import Meta
from argus_operator.models.replay import ReplaySpec
from typer.main import get_command

from tests.unit.operator.world import TEMPLATE

META = Meta(
    name="again",
    namespace="shops",
    uid="0f3a9c21-0000-0000-0000-000000000000",
    creation_timestamp=datetime(2026, 5, 1, tzinfo=UTC),
)
LABELS = {
    "argus.dev/replay-namespace": "shops",
    "argus.dev/replay": "again",
    "argus.dev/replay-uid": META.uid,
    "argus.dev/pipeline": "web",
}


def spec(**fields: Any) -> ReplaySpec:
    return ReplaySpec.model_validate({"pipelineRef": {"name": "web"}, **fields})


class TestArguments:
    def test_all_of_a_pipelines_letters(self) -> None:
        assert jobs.arguments(META, spec()) == [
            *("dlq", "replay", "--pipeline", "shops/web", "--rate", "500", "--wait", "300"),
            *("--yes", "--report", "/dev/termination-log"),
        ]

    def test_what_the_filter_says(self) -> None:
        chosen = {
            "reasons": ["too_old", "refused"],
            "events": ["page_*", "-odd"],
            "from": "2026-01-01T01:00:00+01:00",
            "to": "2026-02-01T00:00:00.5Z",
        }
        given = jobs.arguments(META, spec(filter=chosen, dryRun=True, ratePerSecond=7))

        assert given[4:] == [
            *("--reason", "too_old", "--reason", "refused"),
            *("--event=page_*", "--event=-odd"),
            *("--since", "2026-01-01T00:00:00+00:00"),
            *("--until", "2026-02-01T00:00:00.500000+00:00"),
            "--dry-run",
            *("--rate", "7", "--wait", "300", "--yes", "--report", "/dev/termination-log"),
        ]

    def test_the_console_understands_them(self) -> None:
        chosen = {
            "reasons": ["too_old", "internal"],
            "events": ["-odd"],
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-02-01T00:00:00Z",
        }
        _, command, *given = jobs.arguments(META, spec(filter=chosen, dryRun=True))
        group = get_command(dlq)
        parsed = group.get_command(None, command).make_context(command, given)  # type: ignore[attr-defined]

        assert parsed.params["pipeline"] == "shops/web"
        assert parsed.params["events"] == ["-odd"]
        assert parsed.params["yes"] is True
        assert parsed.params["report"] == Path("/dev/termination-log")


class TestTemplate:
    def test_a_job_is_the_charts_with_names_labels_and_arguments(self) -> None:
        made = TEMPLATE.job(META, spec())

        assert made["metadata"]["name"] == "argus-replay-0f3a9c21"
        assert made["metadata"]["namespace"] == "argus"
        assert made["metadata"]["labels"] == {"app.kubernetes.io/name": "argus"} | LABELS
        assert made["spec"]["template"]["metadata"]["labels"] == LABELS
        (container,) = made["spec"]["template"]["spec"]["containers"]
        assert container["args"] == jobs.arguments(META, spec())
        assert container["image"] == "argus"

    def test_the_template_itself_stays_as_it_is(self) -> None:
        before = json.dumps(TEMPLATE.manifest)
        TEMPLATE.job(META, spec())

        assert json.dumps(TEMPLATE.manifest) == before

    def test_it_is_read_from_json(self, tmp_path: Path) -> None:
        file = tmp_path / "job.json"
        file.write_text(json.dumps(TEMPLATE.manifest))

        assert Template.load(file) == TEMPLATE
        assert Template.load(file).namespace == "argus"

    @pytest.mark.parametrize(
        "text",
        [
            "no json",
            "[]",
            "{}",
            '{"kind": "Pod"}',
            json.dumps(dict(TEMPLATE.manifest, metadata={})),
            json.dumps(dict(TEMPLATE.manifest, kind="CronJob")),
            json.dumps(dict(TEMPLATE.manifest, spec={"template": {"spec": {"containers": []}}})),
        ],
    )
    def test_what_is_no_job_is_refused(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "job.json"
        file.write_text(text)

        with pytest.raises(TemplateError, match=r"job\.json"):
            Template.load(file)


def job(**status: Any) -> dict[str, Any]:
    made = TEMPLATE.job(META, spec())
    made["metadata"]["creationTimestamp"] = "2026-05-01T12:00:00Z"
    return {**made, "status": status}


def ended(type_: str, reason: str = "r") -> dict[str, Any]:
    return {
        "type": type_,
        "status": "True",
        "reason": reason,
        "message": "m",
        "lastTransitionTime": "2026-05-01T12:05:00Z",
    }


class TestRun:
    def test_a_job_says_whose_it_is(self) -> None:
        run = Run.parse(job())

        assert (run.namespace, run.replay, run.uid, run.pipeline) == (
            "shops",
            "again",
            META.uid,
            "web",
        )
        assert run.phase is Phase.RUNNING
        assert run.started == datetime(2026, 5, 1, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("conditions", "phase"),
        [
            ([], Phase.RUNNING),
            ([ended("SuccessCriteriaMet")], Phase.RUNNING),
            ([ended("SuccessCriteriaMet"), ended("Complete")], Phase.COMPLETE),
            ([ended("FailureTarget"), ended("Failed")], Phase.FAILED),
            ([ended("Complete") | {"status": "False"}], Phase.RUNNING),
        ],
    )
    def test_its_conditions_are_its_phase(
        self, conditions: list[dict[str, Any]], phase: Phase
    ) -> None:
        assert Run.parse(job(conditions=conditions)).phase is phase

    def test_a_failed_one_says_why_and_when(self) -> None:
        run = Run.parse(job(conditions=[ended("Failed", "BackoffLimitExceeded")], failed=4))

        assert run.message == "BackoffLimitExceeded: m"
        assert run.ended == datetime(2026, 5, 1, 12, 5, tzinfo=UTC)
        assert run.failures == 4


def pod(**state: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"state": state}]}}


def terminated(message: str, finished: str = "2026-05-01T12:00:00Z", code: int = 0) -> Any:
    return pod(terminated={"message": message, "finishedAt": finished, "exitCode": code})


class TestWord:
    def test_the_report_is_the_termination_message_of_the_last_pod(self) -> None:
        first = terminated('{"message": "first"}', "2026-05-01T12:00:00Z")
        last = terminated('{"matched": 3, "refused": {"too_old": 1}}', "2026-05-01T12:01:00Z")

        for pods in ([first, last], [last, first]):
            assert jobs.word(pods).report == Report(matched=3, refused={"too_old": 1})

    @pytest.mark.parametrize("text", ["Traceback: boom", '{"matched": "x"}', "[1]", '{"matched":'])
    def test_other_last_words_are_no_report_and_are_quoted(self, text: str) -> None:
        word = jobs.word([terminated(text, code=2)])

        assert word.report is None
        assert word.last == text

    def test_without_last_words_there_is_an_exit_code(self) -> None:
        killed = pod(terminated={"reason": "OOMKilled", "exitCode": 137})

        assert jobs.word([killed]).last == "OOMKilled, exit code 137"

    def test_long_last_words_are_cut_at_their_beginning(self) -> None:
        assert jobs.word([terminated("x" * 5_000 + "end", code=1)]).last.endswith("end")
        assert len(jobs.word([terminated("x" * 5_000, code=1)]).last) == 1_000

    def test_what_a_report_adds_later_does_no_harm(self) -> None:
        assert jobs.word([terminated('{"matched": 1, "new": 2}')]).report == Report(matched=1)

    @pytest.mark.parametrize(
        ("state", "waiting"),
        [
            (
                pod(waiting={"reason": "ImagePullBackOff", "message": "no such image"}),
                ("ImagePullBackOff", "no such image"),
            ),
            (
                {
                    "status": {
                        "conditions": [
                            {
                                "type": "PodScheduled",
                                "status": "False",
                                "reason": "Unschedulable",
                                "message": "no node",
                            }
                        ]
                    }
                },
                ("Unschedulable", "no node"),
            ),
            (pod(running={}), None),
            ({"status": {}}, None),
            ({}, None),
        ],
    )
    def test_why_a_pod_does_not_start(
        self, state: dict[str, Any], waiting: tuple[str, str] | None
    ) -> None:
        assert jobs.word([state]).waiting == waiting

    def test_an_evicted_pod_says_so(self) -> None:
        evicted = {"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}

        assert jobs.word([evicted]).last == "Evicted: low on memory"

    def test_a_job_without_pods_says_nothing(self) -> None:
        assert jobs.word([]) == jobs.SILENT
