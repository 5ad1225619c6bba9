"""ArgusReplay between a real API server and the operator; the tests play controller and kubelet."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.integration.operator.apiserver import ROOT
from tests.integration.operator.kubelet import JOBS, REPORT, Kubelet
from tests.integration.operator.process import Operator
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES, REPLAYS = "argustenants", "arguspipelines", "argusreplays"
PIPELINE: dict[str, Any] = {
    "tenantRef": {"name": "shop"},
    "topic": {"retention": {"bytes": "64Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}
SPEC: dict[str, Any] = {"pipelineRef": {"name": "web"}}


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
