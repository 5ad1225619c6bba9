"""Tenants come, are suspended and go, while everything else runs."""

import time
from collections.abc import Callable

import httpx
import pytest

from tests.e2e import tenants
from tests.e2e.conftest import MakeTenant
from tests.e2e.kubectl import eventually, kubectl
from tests.e2e.tenants import PIPELINE, TENANT, Tenant, page_view

WORKS_S = 10
"""The issue's promise: from `kubectl apply` to a 202."""
REFUSED_S = 5
"""The issue's promise: from the change to the refusal."""


def test_a_new_tenant_works_within_ten_seconds(url: str, made_namespaces: list[str]) -> None:
    namespace = tenants.new_namespace()
    made_namespaces.append(namespace)
    started = time.monotonic()
    kubectl("apply", "-f", "-", stdin=tenants.manifests(namespace))

    def key() -> str | None:
        return tenants.secret_key(namespace, f"{TENANT}-argus-keys")

    found = eventually(key, WORKS_S, "the Secret with the key")

    def accepted() -> bool:
        headers = {"authorization": f"Bearer {found}", "content-type": "application/json"}
        body = page_view()
        return httpx.post(f"{url}/v1/events", json=body, headers=headers).status_code == 202

    eventually(accepted, started + WORKS_S - time.monotonic(), "an event answered 202")


def answered(tenant: Tenant, status: int) -> Callable[[], bool]:
    """Whether an event is answered with this status now."""
    return lambda: tenant.post(page_view()).status_code == status


def test_a_suspended_tenant_is_refused_within_five_seconds_and_taken_again_after(
    make_tenant: MakeTenant,
) -> None:
    tenant = make_tenant()
    patch = ("patch", "argustenant", TENANT, "-n", tenant.namespace, "--type=merge", "-p")

    kubectl(*patch, '{"spec":{"suspended":true}}')
    eventually(answered(tenant, 403), REFUSED_S, "403 for a suspended tenant")
    assert tenant.post(page_view()).json()["type"] == "urn:argus:problem:tenant-suspended"

    kubectl(*patch, '{"spec":{"suspended":false}}')
    eventually(answered(tenant, 202), REFUSED_S, "202 after the suspension")


def test_a_key_that_leaves_the_spec_is_refused_within_five_seconds(
    make_tenant: MakeTenant,
) -> None:
    tenant = make_tenant()

    kubectl(
        *("patch", "argustenant", TENANT, "-n", tenant.namespace, "--type=merge", "-p"),
        '{"spec":{"apiKeys":[{"name":"another","kind":"server"}]}}',
    )

    eventually(answered(tenant, 401), REFUSED_S, "401 for a key that was taken away")


def test_a_deleted_tenant_is_refused_within_five_seconds(make_tenant: MakeTenant) -> None:
    tenant = make_tenant()

    kubectl("delete", "argustenant", TENANT, "-n", tenant.namespace, "--wait=false")

    eventually(answered(tenant, 401), REFUSED_S, "401 for the key of a deleted tenant")


@pytest.mark.parametrize("key", ["argus_server_0000000000000000000000", "nonsense"])
def test_a_key_that_nobody_has_is_refused_at_once(url: str, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}

    assert httpx.post(f"{url}/v1/events", json=page_view(), headers=headers).status_code == 401


def test_an_event_that_no_pipeline_takes_is_refused_whole(make_tenant: MakeTenant) -> None:
    tenant = make_tenant()
    kubectl(
        *("patch", "arguspipeline", PIPELINE, "-n", tenant.namespace, "--type=merge", "-p"),
        '{"spec":{"match":["page_*"]}}',
    )
    other = {"event": "signup"}

    def refused() -> bool:
        return tenant.post([page_view(), other]).status_code == 422

    eventually(refused, REFUSED_S, "422 without a default pipeline")
    assert tenant.post([other]).json()["type"] == "urn:argus:problem:no-pipeline"
