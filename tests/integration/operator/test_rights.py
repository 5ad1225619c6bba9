"""The operator's rights: a whole life asks for all that the chart grants, and for nothing else.

That no other test's operator asks for more is looked at where the API server ends.
"""

from typing import Any

import pytest
import pytest_asyncio

from tests.integration.operator.apiserver import OPERATOR, RELEASE, granted, is_forbidden
from tests.integration.operator.kubelet import Kubelet
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
    "deletionPolicy": "Delete",
}
Entry = dict[str, Any]
Right = tuple[str, str, str, str]
"""Kind of role, group, resource and verb."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def life(operator: Operator) -> str:
    """The namespace of a tenant and a pipeline that came, were used and went."""
    namespace = await operator.namespace()
    await live(operator, namespace)
    return namespace


@pytest.mark.usefixtures("life")
async def test_a_life_asks_for_all_that_is_granted_and_for_nothing_else(
    operator: Operator,
) -> None:
    entries = operator.kubernetes.asked(OPERATOR)

    assert operator.kubernetes.forbidden() == []
    assert {right(entry) for entry in entries if is_used(entry)} == rights()


async def test_secrets_are_asked_for_by_name_and_never_listed_watched_or_deleted(
    operator: Operator, life: str
) -> None:
    entries = operator.kubernetes.asked(OPERATOR)
    secrets = [entry for entry in entries if is_used(entry) and resource(entry) == "secrets"]
    found = {(entry["verb"], entry["objectRef"].get("name")) for entry in secrets}
    mine = {
        (entry["verb"], entry["objectRef"].get("name", ""))
        for entry in secrets
        if entry["objectRef"].get("namespace") == life
    }

    assert {verb for verb, _ in found} == {"get", "create", "patch"}
    assert all(name for verb, name in found if verb != "create")
    assert {name for verb, name in mine if verb != "create"} == {"shop-argus-keys"}


async def live(operator: Operator, namespace: str) -> None:
    """A tenant with a pipeline from its making to its end, its key rotated and a replay run."""
    await operator.create(TENANTS, namespace, "shop", {"deletionPolicy": "Delete"})
    await operator.create(PIPELINES, namespace, "web", PIPELINE)
    await operator.wait(PIPELINES, namespace, "web", "Accepting")
    await rotate(operator, namespace)
    await replay(operator, namespace)
    for plural, name in ((PIPELINES, "web"), (TENANTS, "shop")):
        await operator.delete(plural, namespace, name)
        await operator.gone(plural, namespace, name)


async def rotate(operator: Operator, namespace: str) -> None:
    """Another key, as somebody asks for by annotation."""
    asked = {"metadata": {"annotations": {"argus.dev/rotate": "default"}}}
    await operator.patch(TENANTS, namespace, "shop", asked)

    async def done() -> bool:
        return "KeysRotated" in await operator.events(namespace, "shop")

    await eventually(done, 20)


async def replay(operator: Operator, namespace: str) -> None:
    """A replay whose run is stopped by its deletion."""
    kubelet = Kubelet(operator, namespace)
    await operator.create(REPLAYS, namespace, "again", {"pipelineRef": {"name": "web"}})
    job = await kubelet.job()
    await kubelet.run(job)
    await operator.wait(REPLAYS, namespace, "again", "JobRunning", "Running")
    await operator.delete(REPLAYS, namespace, "again")
    await operator.wait(REPLAYS, namespace, "again", "Stopping", "Running")
    await kubelet.collect(job["metadata"]["name"])
    await operator.gone(REPLAYS, namespace, "again")


def is_used(entry: Entry) -> bool:
    """Whether a request was for an object, and allowed."""
    return "objectRef" in entry and not is_forbidden(entry)


def resource(entry: Entry) -> str:
    """The resource that a request is about, with its subresource."""
    ref = entry["objectRef"]
    return "/".join(filter(None, (ref["resource"], ref.get("subresource"))))


def right(entry: Entry) -> Right:
    """What a request needs."""
    ref = entry["objectRef"]
    where = "Role" if ref.get("namespace") == RELEASE else "ClusterRole"
    return where, ref.get("apiGroup", ""), resource(entry), entry["verb"]


def rights() -> set[Right]:
    """What the chart grants."""
    return {
        (kind, group, resource, verb)
        for kind in ("ClusterRole", "Role")
        for rule in granted(kind)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
