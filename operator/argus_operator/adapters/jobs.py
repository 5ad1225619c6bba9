"""Jobs of replays and their pods, in one namespace: the operator's own."""

from collections.abc import Mapping
from typing import Any

from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.errors import BusyError
from argus_operator.jobs import OF_JOB, UID, Run, Word, word


class ReplayJobs:
    """What the operator asks of Jobs; nothing is watched, since few ever run at once."""

    def __init__(self, cluster: Kubernetes, namespace: str) -> None:
        self._cluster = cluster
        self._jobs = f"apis/batch/v1/namespaces/{namespace}/jobs"
        self._pods = f"api/v1/namespaces/{namespace}/pods"

    async def runs(self) -> list[Run]:
        """All Jobs of replays."""
        found = await self._cluster.call("GET", self._jobs, params={"labelSelector": UID})
        return [Run.parse(raw) for raw in found["items"]]

    async def create(self, manifest: Mapping[str, Any]) -> None:
        """Makes a Job; one that is there already is fine: it has the same name and purpose."""
        try:
            await self._cluster.call("POST", self._jobs, json=manifest)
        except BusyError:
            return

    async def delete(self, run: Run) -> None:
        """Ends a Job with its pods, and only then lets it go; one that is gone is fine."""
        options = {"propagationPolicy": "Foreground"}
        await self._cluster.call("DELETE", f"{self._jobs}/{run.name}", json=options)

    async def word(self, run: Run) -> Word:
        """What the Job's pods say."""
        labels = {"labelSelector": f"{OF_JOB}={run.name}"}
        found = await self._cluster.call("GET", self._pods, params=labels)
        return word(found["items"])
