"""A tenant's own dependencies: its Secret of keys, its limits and its schema."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from argus_contract import names
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.registry import Key, TenantDocument

from argus_operator import documents, keys
from argus_operator.errors import RefusedError
from argus_operator.models.tenant import KeyStatus, TenantSpec
from argus_operator.ports import Cluster, Registry
from argus_operator.reconcile.status import NORMAL, WARNING
from argus_operator.resources import Tenant


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that stand in the Secret."""

    keys: tuple[Key, ...]
    shown: tuple[KeyStatus, ...]


class KeyStep:
    """Makes the Secret hold what the spec asks for."""

    def __init__(self, cluster: Cluster, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._registry = registry
        self._clock = clock

    async def ensure(
        self, tenant: Tenant, spec: TenantSpec, id_: TenantId, prior: TenantDocument | None
    ) -> Keyring:
        """The keyring after repair; raises OperatorError where the Secret cannot be used."""
        name = names.key_secret(tenant.meta.name)
        observed = await self._cluster.get_secret(tenant.meta.namespace, name)
        plan = keys.plan(tenant.meta, spec.api_keys, observed, _registered(prior), self._clock())
        if plan.write:
            await self._cluster.write_secret(tenant.raw, name, observed, plan.data, plan.created)
            await self._announce(tenant, name, plan)
        registered = keys.register(spec.api_keys, plan.data)
        self._check_unshared(id_, registered, name)
        return Keyring(registered, keys.describe(spec.api_keys, registered, plan.created))

    async def _announce(self, tenant: Tenant, secret: str, plan: keys.KeyPlan) -> None:
        fresh = [name for name in plan.generated if name not in plan.lost]
        if fresh:
            note = f"generated {', '.join(fresh)} in Secret {secret}"
            await self._cluster.post_event(tenant.raw, NORMAL, "KeysGenerated", note)
        if plan.lost:
            note = (
                f"{', '.join(plan.lost)} had gone from Secret {secret} or was no key any more: "
                "generated anew, and the old key is refused from now on"
            )
            await self._cluster.post_event(tenant.raw, WARNING, "KeysRegenerated", note)
        if plan.removed:
            note = f"removed {', '.join(plan.removed)} from Secret {secret}"
            await self._cluster.post_event(tenant.raw, NORMAL, "KeysRemoved", note)

    def _check_unshared(self, id_: TenantId, found: tuple[Key, ...], secret: str) -> None:
        other = documents.shared_key(self._registry.documents, id_, (key.hash for key in found))
        if other is not None:
            raise RefusedError(
                "KeyShared",
                f"a key in Secret {secret} is also a key of tenant {other}: "
                "remove it from the Secret, and a new one is generated",
            )


def _registered(prior: TenantDocument | None) -> Mapping[str, KeyHash]:
    return {} if prior is None else {key.name: key.hash for key in prior.keys}
