"""The release: what it may do, what it weighs, and that an upgrade changes nothing by itself."""

import json
from typing import Any

from tests.e2e.kubectl import NAMESPACE, get, helm, kubectl
from tests.e2e.tenants import Tenant

RELEASE = "argus"
MOST_MEMORY = 2.5 * 1024**3
"""Bytes, of all pods of the release together."""
DEPLOYMENTS = {"argus-operator": 1, "argus-ingest": 2, "argus-stream": 1}
ENGINES = {"argus-kafka", "argus-valkey", "argus-postgres"}


def test_every_part_runs() -> None:
    workloads = get("deployments,statefulsets", "-n", NAMESPACE)["items"]
    ready = {one["metadata"]["name"]: one["status"].get("readyReplicas", 0) for one in workloads}

    assert ready == DEPLOYMENTS | dict.fromkeys(ENGINES, 1)


def test_the_namespace_enforces_the_restricted_standard() -> None:
    labels = get("namespace", NAMESPACE)["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_are_neither_root_nor_able_to_write_their_image() -> None:
    containers = [
        (pod["metadata"]["name"], pod["spec"], container)
        for pod in get("pods", "-n", NAMESPACE)["items"]
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    ]

    assert containers
    for name, spec, container in containers:
        context = spec.get("securityContext", {}) | container["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"]["drop"] == ["ALL"], name


def test_helm_test_passes() -> None:
    assert "Phase:          Succeeded" in helm("test", RELEASE, "-n", NAMESPACE, "--timeout=60s")


def secrets() -> dict[str, Any]:
    """The data of every Secret of every namespace, but for helm's own records."""
    return {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": one.get("data")
        for one in get("secrets", "-A")["items"]
        if not one["type"].startswith("helm.sh/")
    }


def pod_uids() -> dict[str, str]:
    """Every pod of the release that is not a test's."""
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in get("pods", "-n", NAMESPACE)["items"]
        if "ownerReferences" in pod["metadata"]
    }


def test_upgrading_twice_changes_no_key_and_restarts_nothing(tenant: Tenant) -> None:
    before, running = secrets(), pod_uids()

    for _ in range(2):
        helm(
            *("upgrade", RELEASE, "charts/argus", "-n", NAMESPACE, "--reuse-values"),
            *("--wait", "--timeout", "120s"),
        )

    assert secrets() == before
    assert pod_uids() == running
    assert tenant.post({"event": "after_upgrade"}).status_code == 202


def test_all_pods_together_fit_the_promised_memory() -> None:
    [node] = get("nodes")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
    summary = json.loads(kubectl("get", "--raw", path))
    used = {
        pod["podRef"]["name"]: sum(
            container["memory"]["workingSetBytes"] for container in pod["containers"]
        )
        for pod in summary["pods"]
        if pod["podRef"]["namespace"] == NAMESPACE and pod.get("containers")
    }

    assert len(used) >= sum(DEPLOYMENTS.values()) + len(ENGINES)
    assert sum(used.values()) <= MOST_MEMORY, used
