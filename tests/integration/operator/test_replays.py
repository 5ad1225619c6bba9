"""ArgusReplay between a real API server and the operator; the tests play controller and kubelet."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.integration.operator.apiserver import MERGE, OPERATOR, RELEASE, ROOT, granted
from tests.integration.operator.process import Operator
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES, REPLAYS = "argustenants", "arguspipelines", "argusreplays"
JOBS = f"apis/batch/v1/namespaces/{RELEASE}/jobs"
PODS = f"api/v1/namespaces/{RELEASE}/pods"
PIPELINE: dict[str, Any] = {
    "tenantRef": {"name": "shop"},
    "topic": {"retention": {"bytes": "64Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}
SPEC: dict[str, Any] = {"pipelineRef": {"name": "web"}}
STATUS = "application/merge-patch+json"
REPORT = {
    "matched": 10,
    "passing": 6,
    "replayed": 6,
    "stored": 4,
    "duplicate": 1,
    "failed": 1,
    "refused": {"too_old": 3},
    "settled": 1,
    "skipped": 0,
    "message": "10 letters matched.",
}


class Kubelet:
    """Does with a replay's Job what Kubernetes' controllers and a node would do."""

    def __init__(self, operator: Operator, namespace: str) -> None:
        self.operator = operator
        self.api = operator.kubernetes
        self.namespace = namespace

    async def job(self, replay: str = "again", seconds: float = 20) -> dict[str, Any]:
        """The Job of a replay, once there is one."""
        found: list[dict[str, Any]] = []

        async def made() -> bool:
            found[:] = await self.jobs(replay)
            return bool(found)

        await eventually(made, seconds)
        (only,) = found
        return only

    async def jobs(self, replay: str = "again") -> list[dict[str, Any]]:
        """All Jobs of a replay."""
        query = (
            f"labelSelector=argus.dev/replay-namespace={self.namespace},argus.dev/replay={replay}"
        )
        listed = await self.api.call("GET", f"{JOBS}?{query}")
        items: list[dict[str, Any]] = listed["items"]
        return items

    async def run(self, job: dict[str, Any]) -> None:
        """Starts the Job's pod."""
        name = job["metadata"]["name"]
        await self._job_status(name, startTime=_now(), active=1)
        pod = job["spec"]["template"] | {
            "metadata": {"name": f"{name}-{len(await self.pods(name))}"}
        }
        pod["metadata"]["labels"] = {"batch.kubernetes.io/job-name": name}
        await self.api.call("POST", PODS, pod)

    async def pods(self, job: str) -> list[dict[str, Any]]:
        """The pods of a Job."""
        query = f"labelSelector=batch.kubernetes.io/job-name={job}"
        items: list[dict[str, Any]] = (await self.api.call("GET", f"{PODS}?{query}"))["items"]
        return items

    async def container(self, job: str, **state: Any) -> None:
        """Puts the container of the Job's last pod into a state."""
        pod = max((found["metadata"]["name"] for found in await self.pods(job)), default="")
        status = {
            "name": "replay",
            "ready": False,
            "restartCount": 0,
            "image": "argus/app:test",
            "imageID": "",
            "state": state,
        }
        body = {"status": {"containerStatuses": [status]}}
        await self.api.call("PATCH", f"{PODS}/{pod}/status", body, STATUS)

    async def end(self, job: str, message: str, *, code: int = 0) -> None:
        """Ends the container with this termination message."""
        times = {"startedAt": _now(), "finishedAt": _now()}
        await self.container(job, terminated={"exitCode": code, "message": message, **times})

    async def complete(self, job: str) -> None:
        """Says that the Job has succeeded."""
        conditions = [_condition("SuccessCriteriaMet"), _condition("Complete")]
        await self._job_status(
            job, active=0, succeeded=1, completionTime=_now(), conditions=conditions
        )

    async def fail(self, job: str) -> None:
        """Says that the Job has failed for good."""
        conditions = [_condition("FailureTarget"), _condition("Failed")]
        await self._job_status(job, active=0, failed=4, conditions=conditions)

    async def _job_status(self, job: str, **status: Any) -> None:
        await self.api.call("PATCH", f"{JOBS}/{job}/status", {"status": status}, STATUS)

    async def collect(self, job: str) -> None:
        """Garbage collection of a Job that is being deleted in the foreground."""
        for pod in await self.pods(job):
            name = pod["metadata"]["name"]
            await self.api.call("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        await self.api.call("PATCH", f"{JOBS}/{job}", {"metadata": {"finalizers": None}}, MERGE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(type_: str) -> dict[str, Any]:
    said = {"reason": "BackoffLimitExceeded", "message": "too many attempts"}
    times = {"lastProbeTime": _now(), "lastTransitionTime": _now()}
    return {"type": type_, "status": "True", **said, **times}


@pytest_asyncio.fixture(loop_scope="session")
async def kubelet(operator: Operator) -> AsyncIterator[Kubelet]:
    """A namespace with a tenant and a pipeline that is Ready."""
    namespace = await operator.namespace()
    await operator.create(TENANTS, namespace, "shop", {})
    await operator.create(PIPELINES, namespace, "web", PIPELINE)
    await operator.wait(PIPELINES, namespace, "web", "Accepting")
    yield Kubelet(operator, namespace)


async def test_a_replay_runs_and_its_report_becomes_its_status(
    operator: Operator, kubelet: Kubelet
) -> None:
    await operator.create(
        REPLAYS, kubelet.namespace, "again", SPEC | {"filter": {"reasons": ["too_old"]}}
    )
    job = await kubelet.job()
    name = job["metadata"]["name"]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][:6] == [
        *("dlq", "replay", "--pipeline", f"{kubelet.namespace}/web", "--reason", "too_old")
    ]
    await kubelet.run(job)
    await operator.wait(REPLAYS, kubelet.namespace, "again", "JobRunning", "Running")
    await kubelet.end(name, json.dumps(REPORT))
    await kubelet.complete(name)
    found = await operator.wait(REPLAYS, kubelet.namespace, "again", "Replayed", "Complete")
    status = found["status"]

    assert {key: status[key] for key in ("matched", "replayed", "stored", "failed")} == {
        "matched": 10,
        "replayed": 6,
        "stored": 4,
        "failed": 1,
    }
    assert status["refused"]["reasons"] == [{"reason": "too_old", "count": 3}]
    assert status["job"] == name
    assert status["observedGeneration"] == 1
    assert status["completedAt"] >= status["startedAt"]
    assert await operator.events(kubelet.namespace, "again") == ["Replayed"]


async def test_what_kubectl_shows_of_it(operator: Operator, kubelet: Kubelet) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC | {"dryRun": True})
    job = (await kubelet.job())["metadata"]["name"]
    await kubelet.run(await kubelet.job())
    await operator.wait(REPLAYS, kubelet.namespace, "again", "JobRunning", "Running")
    assert (await _row(operator, kubelet.namespace))[:2] == ["again", "Running"]

    await kubelet.end(job, json.dumps(REPORT))
    await kubelet.complete(job)
    await operator.wait(REPLAYS, kubelet.namespace, "again", "Replayed", "Complete")
    row = await _row(operator, kubelet.namespace)
    assert row[:7] == ["again", "Complete", "Finished", "web", 10, 6, 4]


async def _row(operator: Operator, namespace: str) -> list[Any]:
    """What the API server prints of the only replay."""
    path = f"{operator.kubernetes.url}/apis/argus.dev/v1alpha1/namespaces/{namespace}/{REPLAYS}"
    headers = {
        "Authorization": "Bearer admin",
        "Accept": "application/json;as=Table;g=meta.k8s.io;v=v1",
    }
    session = operator.kubernetes.session
    async with session.get(path, headers=headers, ssl=False) as response:
        (row,) = (await response.json())["rows"]
        cells: list[Any] = row["cells"]
        return cells


async def test_it_waits_for_its_pipeline(operator: Operator) -> None:
    namespace = await operator.namespace()
    kubelet = Kubelet(operator, namespace)
    await operator.create(REPLAYS, namespace, "again", SPEC)
    await operator.wait(REPLAYS, namespace, "again", "PipelineNotFound", "Running")
    await operator.create(PIPELINES, namespace, "web", PIPELINE)
    await operator.wait(REPLAYS, namespace, "again", "PipelineNotReady", "Running")
    assert await kubelet.jobs() == []

    await operator.create(TENANTS, namespace, "shop", {})
    assert await kubelet.job()


async def test_a_job_that_is_deleted_by_hand_is_made_again(
    operator: Operator, kubelet: Kubelet
) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    first = (await kubelet.job())["metadata"]
    await operator.kubernetes.call("DELETE", f"{JOBS}/{first['name']}?propagationPolicy=Background")

    async def made_again() -> bool:
        return any(job["metadata"]["uid"] != first["uid"] for job in await kubelet.jobs())

    await eventually(made_again, 20)


async def test_a_job_that_failed_for_good_is_told_with_its_last_words(
    operator: Operator, kubelet: Kubelet
) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    job = await kubelet.job()
    await kubelet.run(job)
    await kubelet.end(job["metadata"]["name"], "argus: Kafka does not answer", code=2)
    await kubelet.fail(job["metadata"]["name"])
    found = await operator.wait(REPLAYS, kubelet.namespace, "again", "JobFailed", "Failed")

    (failed,) = (item for item in found["status"]["conditions"] if item["type"] == "Failed")
    assert failed["status"] == "True"
    assert "BackoffLimitExceeded" in failed["message"]
    assert "Kafka does not answer" in failed["message"]


async def test_a_pod_that_cannot_start_is_told(operator: Operator, kubelet: Kubelet) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    job = await kubelet.job()
    await kubelet.run(job)
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    await kubelet.container(job["metadata"]["name"], waiting=waiting)

    await operator.wait(REPLAYS, kubelet.namespace, "again", "ImagePullBackOff", "Running")


async def test_deletion_ends_the_run_before_the_replay_goes(
    operator: Operator, kubelet: Kubelet
) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    job = await kubelet.job()
    await kubelet.run(job)
    await operator.wait(REPLAYS, kubelet.namespace, "again", "JobRunning", "Running")
    await operator.delete(REPLAYS, kubelet.namespace, "again")
    await operator.wait(REPLAYS, kubelet.namespace, "again", "Stopping", "Running")
    (leaving,) = await kubelet.jobs()
    assert "deletionTimestamp" in leaving["metadata"]
    assert leaving["metadata"]["finalizers"] == ["foregroundDeletion"]

    await kubelet.collect(job["metadata"]["name"])
    await operator.gone(REPLAYS, kubelet.namespace, "again")
    assert await kubelet.jobs() == []


async def test_the_job_of_a_replay_that_went_without_its_cleanup_is_ended(
    operator: Operator, kubelet: Kubelet
) -> None:
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    name = (await kubelet.job())["metadata"]["name"]
    await operator.patch(REPLAYS, kubelet.namespace, "again", {"metadata": {"finalizers": None}})
    await operator.delete(REPLAYS, kubelet.namespace, "again")

    async def leaves() -> bool:
        return any("deletionTimestamp" in job["metadata"] for job in await kubelet.jobs())

    await eventually(leaves, 20)
    await kubelet.collect(name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pipelineRef": {"name": "web"}, "filter": {"reasons": ["old"]}}, "Unsupported value"),
        (
            {
                "pipelineRef": {"name": "web"},
                "filter": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
            },
            "from must be before to",
        ),
        (
            {
                "pipelineRef": {"name": "web"},
                "filter": {"from": "2026-01-01T23:00:00-02:00", "to": "2026-01-02T00:00:00Z"},
            },
            "from must be before to",
        ),
        ({"pipelineRef": {"name": "web"}, "ratePerSecond": 0}, "ratePerSecond"),
        ({"pipelineRef": {"name": "web"}, "filter": {"events": ["a*b"]}}, "events"),
        ({}, "pipelineRef"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    operator: Operator, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        await operator.create(REPLAYS, "default", "again", spec)


async def test_the_example_is_taken(operator: Operator) -> None:
    example = yaml.safe_load((ROOT / "examples" / "replay.yaml").read_text())
    namespace = await operator.namespace()
    example["metadata"]["namespace"] = namespace
    path = f"apis/argus.dev/v1alpha1/namespaces/{namespace}/{REPLAYS}?dryRun=All"

    taken = await operator.kubernetes.call("POST", path, example)
    assert taken["spec"] == example["spec"]


async def test_a_name_that_is_no_label_is_refused(operator: Operator) -> None:
    with pytest.raises(AssertionError, match="DNS label"):
        await operator.create(REPLAYS, "default", "a.b", SPEC)


async def test_a_replay_cannot_be_changed(operator: Operator) -> None:
    namespace = await operator.namespace()
    await operator.create(REPLAYS, namespace, "again", SPEC)
    with pytest.raises(AssertionError, match="make another"):
        await operator.patch(REPLAYS, namespace, "again", {"spec": {"dryRun": True}})


async def test_the_operator_asks_for_nothing_else_than_it_is_granted_and_for_all_of_that(
    operator: Operator, kubelet: Kubelet
) -> None:
    before = len(operator.kubernetes.asked(OPERATOR))
    keys = {"apiKeys": [{"name": "other"}]}
    await operator.patch(TENANTS, kubelet.namespace, "shop", {"spec": keys})
    await operator.create(REPLAYS, kubelet.namespace, "again", SPEC)
    job = await kubelet.job()
    await kubelet.run(job)
    await operator.wait(REPLAYS, kubelet.namespace, "again", "JobRunning", "Running")
    await operator.delete(REPLAYS, kubelet.namespace, "again")
    await operator.wait(REPLAYS, kubelet.namespace, "again", "Stopping", "Running")
    await kubelet.collect(job["metadata"]["name"])
    await operator.gone(REPLAYS, kubelet.namespace, "again")
    entries = operator.kubernetes.asked(OPERATOR)

    assert [entry["requestURI"] for entry in entries[before:] if _is_refused(entry)] == []
    used = [entry for entry in entries if "objectRef" in entry and not _is_refused(entry)]
    assert {_right(entry) for entry in used} == _granted()


def _is_refused(entry: dict[str, Any]) -> bool:
    return bool(entry["responseStatus"]["code"] == 403)


def _right(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    """Kind of role, group, resource and verb that a request needs."""
    ref = entry["objectRef"]
    resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
    where = "Role" if ref.get("namespace") == RELEASE else "ClusterRole"
    return where, ref.get("apiGroup", ""), resource, entry["verb"]


def _granted() -> set[tuple[str, str, str, str]]:
    return {
        (kind, group, resource, verb)
        for kind in ("ClusterRole", "Role")
        for rule in granted(kind)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
