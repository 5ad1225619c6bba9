"""The tenants that chaos sends as: limits so high that none is ever the reason for a refusal."""

import asyncio
import secrets
from typing import Any, Final

from tests.chaos import node
from tests.e2e import tenants as e2e
from tests.e2e.kubectl import kubectl
from tests.e2e.tenants import PIPELINE, TENANT, Tenant, new_address

__all__ = ["PIPELINE", "TENANT", "UNLIMITED", "Tenant", "make", "new_address", "remove", "well"]

UNLIMITED: Final[dict[str, Any]] = {
    "perKey": {"rate": 1_000_000, "burst": 1_000_000},
    "perIP": {"rate": 10_000, "burst": 10_000},
}
ROOMY: Final[dict[str, Any]] = {
    "topic": {"partitions": 2, "retention": {"bytes": "256Mi"}},
    "deadLetter": {"retention": {"bytes": "64Mi"}},
}
"""What load fills: more than the pipelines of the end-to-end tests need."""


async def make(
    url: str, *, spec: dict[str, Any] | None = None, pipeline: dict[str, Any] | None = None
) -> Tenant:
    """A Ready tenant with one pipeline in a new namespace; `remove` takes it away."""
    namespace = f"chaos-{secrets.token_hex(4)}"
    applied = e2e.manifests(
        namespace, ROOMY | (pipeline or {}), **({"rateLimit": UNLIMITED} | (spec or {}))
    )
    await asyncio.to_thread(kubectl, "apply", "-f", "-", stdin=applied)
    await asyncio.to_thread(e2e.wait_ready, namespace)
    return await asyncio.to_thread(e2e.existing, url, namespace)


async def well(tenant: Tenant, within: float) -> None:
    """Waits until every condition of both resources says that all is as it should be."""
    for kind, name, conditions in (
        ("argustenant", TENANT, ("Ready", "Synced")),
        ("arguspipeline", PIPELINE, ("Ready", "Synced", "Healthy")),
    ):
        for condition in conditions:
            await node.kubectl(
                *("wait", f"{kind}/{name}", "-n", tenant.namespace),
                *(f"--for=condition={condition}", f"--timeout={within:.0f}s"),
                timeout=within + 10,
            )


def remove(namespaces: list[str], within: float = 120) -> None:
    """Deletes these namespaces and waits until they are gone: no finalizer may hang."""
    for namespace in namespaces:
        e2e.remove(namespace)
    e2e.gone(namespaces, within)
