"""The Lease that says which operator leads (coordination.k8s.io/v1)."""

from datetime import UTC, datetime
from typing import Any

from argus_operator.adapters.kubernetes import MANAGED_BY, MANAGER, MERGE, Kubernetes
from argus_operator.errors import BusyError
from argus_operator.lease import Record
from argus_operator.models.common import Raw


class Leases:
    """One Lease, read and written with optimistic concurrency."""

    def __init__(self, cluster: Kubernetes, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._path = f"apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name

    async def get(self) -> Record | None:
        """The lease, None if there is none. Raises UnavailableError."""
        found = await self._cluster.call("GET", f"{self._path}/{self._name}")
        return None if found is None else _record(found)

    async def write(self, before: Record | None, holder: str, duration: float) -> Record:
        """Makes it `holder`'s, empty for nobody's, from now on; `duration` in seconds.

        Raises UnavailableError, and BusyError where it is no longer as it was `before`.
        """
        spec = _spec(before, holder, duration)
        meta: dict[str, Any] = {"name": self._name, "labels": {MANAGED_BY: MANAGER}}
        if before is None:
            body = {"metadata": meta, "spec": spec}
            return _record(await self._cluster.call("POST", self._path, json=body))
        body = {"metadata": {"resourceVersion": before.version}, "spec": spec}
        path = f"{self._path}/{self._name}"
        answer = await self._cluster.call("PATCH", path, json=body, content_type=MERGE)
        if answer is None:
            raise BusyError("Vanished", f"Lease {self._name} was deleted")
        return _record(answer)


def _spec(before: Record | None, holder: str, duration: float) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(round(duration), 1),
        "renewTime": now,
    }
    if before is None or before.holder != holder:
        moved = 0 if before is None else before.transitions + 1
        spec |= {"acquireTime": now, "leaseTransitions": moved}
    return spec


def _record(found: Raw) -> Record:
    spec = found.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "",
        version=found["metadata"]["resourceVersion"],
        transitions=spec.get("leaseTransitions") or 0,
    )
