"""The resources as the API server and kubectl treat them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeTenant
from tests.e2e.kubectl import CommandError, get, kubectl
from tests.e2e.tenants import PIPELINE, TENANT, Tenant

FIXTURES = Path(__file__).parent / "fixtures"
REFUSED = "# refused: "
DRY_RUN = ("apply", "--dry-run=server", "-f")
TOLD_S = 90
"""What the stream says of its partitions is told at the operator's next resync, each 30 s."""


def named(path: Path) -> str:
    """The fixture's name, for pytest."""
    return path.stem


@pytest.mark.parametrize("path", sorted((FIXTURES / "valid").glob("*.yaml")), ids=named)
def test_a_valid_resource_is_taken(path: Path) -> None:
    assert "(server dry run)" in kubectl(*DRY_RUN, str(path))


@pytest.mark.parametrize("path", sorted((FIXTURES / "invalid").glob("*.yaml")), ids=named)
def test_an_invalid_resource_is_refused_with_advice(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith(REFUSED), f"{path.name} must begin with {REFUSED!r}"

    with pytest.raises(CommandError) as refused:
        kubectl(*DRY_RUN, str(path))

    assert first.removeprefix(REFUSED) in str(refused.value)


@pytest.mark.parametrize(
    ("patch", "advice"),
    [
        ('{"spec":{"topic":{"partitions":1}}}', "partitions can only grow"),
        ('{"spec":{"tenantRef":{"name":"other"}}}', "tenantRef cannot change"),
        (
            '{"spec":{"topic":{"external":{"name":"a","deadLetterName":"b"}}}}',
            "topic.external cannot change",
        ),
    ],
)
def test_a_change_that_would_lose_data_is_refused(tenant: Tenant, patch: str, advice: str) -> None:
    words = ("patch", "arguspipeline", PIPELINE, "-n", tenant.namespace, "--type=merge")

    with pytest.raises(CommandError, match=advice):
        kubectl(*words, "-p", patch)


def test_get_shows_the_facts(tenant: Tenant) -> None:
    both = kubectl("get", "argustenants,arguspipelines", "-A", "-o", "wide")
    lines = [line.split() for line in both.splitlines() if line.startswith(tenant.namespace)]

    assert "READY" in both
    assert "REASON" in both
    assert len(lines) == 2
    shown_tenant, shown_pipeline = lines
    assert shown_tenant[1:3] == [f"argustenant.argus.dev/{TENANT}", "True"]
    assert f"{TENANT}-argus-keys" in shown_tenant
    assert shown_pipeline[1:3] == [f"arguspipeline.argus.dev/{PIPELINE}", "True"]
    assert tenant.topic in shown_pipeline


def test_short_names_and_the_category_work(tenant: Tenant) -> None:
    assert TENANT in kubectl("get", "at", "-n", tenant.namespace)
    assert PIPELINE in kubectl("get", "ap", "-n", tenant.namespace)
    together = kubectl("get", "argus", "-n", tenant.namespace)
    assert TENANT in together
    assert PIPELINE in together


def test_describe_shows_conditions_and_events(tenant: Tenant) -> None:
    for kind, name in (("argustenant", TENANT), ("arguspipeline", PIPELINE)):
        described = kubectl("describe", kind, name, "-n", tenant.namespace)
        _, _, events = described.partition("\nEvents:")
        assert "Conditions:" in described
        assert "Normal" in events, described


@pytest.mark.parametrize(
    ("kind", "name", "types"),
    [
        ("argustenant", TENANT, {"Ready", "Synced", "KeysReady", "RegistryReady", "SchemasReady"}),
        (
            "arguspipeline",
            PIPELINE,
            {"Ready", "Synced", "TopicsReady", "SchemasReady", "RegistryReady", "Healthy"},
        ),
    ],
)
def test_every_condition_is_true_of_this_generation(
    tenant: Tenant, kind: str, name: str, types: set[str]
) -> None:
    for type_ in types:
        within = f"--timeout={TOLD_S}s"
        waited = ("-n", tenant.namespace, f"--for=condition={type_}", within)
        kubectl("wait", kind, name, *waited, timeout=TOLD_S + 10)
    resource = get(kind, name, "-n", tenant.namespace)
    conditions: dict[str, dict[str, Any]] = {
        one["type"]: one for one in resource["status"]["conditions"]
    }

    assert types <= conditions.keys()
    for condition in conditions.values():
        assert condition["status"] == "True", condition
        assert condition["observedGeneration"] == resource["metadata"]["generation"], condition


def test_a_second_default_pipeline_is_not_ready_and_says_why(make_tenant: MakeTenant) -> None:
    tenant = make_tenant()
    time.sleep(1)  # the API server dates objects to the second, and the younger one has to give way
    second = {
        "apiVersion": "argus.dev/v1alpha1",
        "kind": "ArgusPipeline",
        "metadata": {"name": "second", "namespace": tenant.namespace},
        "spec": {"tenantRef": {"name": TENANT}, "deletionPolicy": "Delete"},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(second))

    kubectl(
        *("wait", "-n", tenant.namespace, "arguspipeline/second", "--timeout=50s"),
        "--for=condition=Ready=False",
    )
    status = get("arguspipeline", "second", "-n", tenant.namespace)["status"]
    [ready] = [one for one in status["conditions"] if one["type"] == "Ready"]
    assert PIPELINE in ready["message"]
