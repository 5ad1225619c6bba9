"""What Kubernetes' controllers and a node would do, played against a real API server."""

from datetime import UTC, datetime
from typing import Any

from tests.integration.operator.apiserver import MERGE, RELEASE
from tests.integration.operator.process import Operator
from tests.integration.operator.waiting import eventually

JOBS = f"apis/batch/v1/namespaces/{RELEASE}/jobs"
PODS = f"api/v1/namespaces/{RELEASE}/pods"
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
"""What a run says of itself in the end."""


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
        await self.api.call("PATCH", f"{PODS}/{pod}/status", body, MERGE)

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
        await self.api.call("PATCH", f"{JOBS}/{job}/status", {"status": status}, MERGE)

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
