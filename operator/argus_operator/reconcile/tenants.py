"""A tenant's keys: its Secret, what pods are told of it, and what people ask for by annotation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec
from argus_contract import keys as contract
from argus_contract import names
from argus_contract.names import TenantId
from argus_contract.registry import Key, TenantDocument
from argus_contract.times import from_micros
from pydantic import ValidationError

from argus_operator import documents, keys, metrics
from argus_operator.errors import RefusedError, UnavailableError
from argus_operator.keys import Deed, Orders, SecretState
from argus_operator.models.common import REVOKE, ROTATE
from argus_operator.models.tenant import ApiKey, KeyStatus, Rotation, TenantSpec
from argus_operator.ports import Cluster, Registry
from argus_operator.reconcile import repairs
from argus_operator.reconcile.attempt import attempt
from argus_operator.reconcile.requests import Requests, orders
from argus_operator.reconcile.status import NORMAL, WARNING
from argus_operator.resources import Tenant

ALL: Final = (ROTATE, REVOKE)
"""The requests of a tenant that lives; of one that is held only revocation does not wait."""

_TELLING: Final = {
    keys.GENERATED: (NORMAL, "generated {what} in Secret {secret}"),
    keys.REGENERATED: (
        WARNING,
        "{what} had gone from Secret {secret} or was no key any more: generated anew, and the old "
        "key is refused from now on",
    ),
    keys.ROTATED: (NORMAL, "rotated in Secret {secret}: {what}"),
    keys.REVOKED: (WARNING, "revoked, and refused from now on: {what}; Secret {secret}"),
    keys.RETIRED: (NORMAL, "the grace is over of {what}: taken out of Secret {secret}"),
    keys.DROPPED: (
        WARNING,
        "{what} had gone from Secret {secret} before the end of its grace, or was no key any more: "
        "refused from now on",
    ),
    keys.REMOVED: (NORMAL, "removed {what} from Secret {secret}"),
}


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that stand in the Secret; `due` is when they change by themselves."""

    keys: tuple[Key, ...]
    shown: tuple[KeyStatus, ...]
    due: datetime | None = None


class KeyStep:
    """Makes the Secret hold what spec, schedule and requests ask for."""

    def __init__(self, cluster: Cluster, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._registry = registry
        self._clock = clock
        self._requests = Requests(cluster)

    async def bind(
        self, tenant: Tenant, prior: TenantDocument | None, kinds: Sequence[str] = ALL
    ) -> Tenant:
        """The tenant with its requests bound to keys, before any of them is carried out.

        Raises BusyError where it has changed since it was read: then all is to be looked at anew.
        """
        return await self._requests.bind(tenant, _registered(prior), self._clock(), kinds)

    async def close(self, tenant: Tenant, kinds: Sequence[str] = ALL) -> None:
        """Takes off requests that are carried out and published; raises OperatorError."""
        await self._requests.close(tenant, kinds)

    async def ensure(
        self, tenant: Tenant, spec: TenantSpec, id_: TenantId, prior: TenantDocument | None
    ) -> Keyring:
        """The keyring after repair; raises OperatorError where the Secret cannot be used."""
        name = names.key_secret(tenant.meta.name)
        observed = await self._cluster.get_secret(tenant.meta.namespace, name)
        asked, told, now = orders(tenant), _registered(prior), self._clock()
        plan = keys.plan(tenant.meta, spec, observed, told, _shown(tenant), asked, now)
        registered = keys.register(plan.slots)
        if plan.write:
            if prior is not None:
                await self._foretell(prior, registered, observed, asked)
            repairs.note("secret", drift=_is_drift(tenant, plan.done))
            await self._cluster.write_secret(tenant.raw, name, observed, plan.data, plan.notes)
            await self._announce(tenant, name, plan.done)
        self._check_unshared(id_, registered, name)
        shown = keys.describe(plan.slots, spec.rotation)
        return Keyring(registered, shown, plan.due(spec.rotation))

    def due_in(self, ring: object) -> float | None:
        """Seconds until a key changes by itself; None where none does."""
        if not isinstance(ring, Keyring) or ring.due is None:
            return None
        return max(1.0, (ring.due - self._clock()).total_seconds())

    async def revoke(self, tenant: Tenant, prior: TenantDocument) -> Keyring:
        """The keyring of a tenant that is held: revoked keys go, and the spec has no say."""
        return await self.ensure(tenant, _as_registered(prior), prior.id, prior)

    async def _foretell(
        self,
        prior: TenantDocument,
        registered: Iterable[Key],
        observed: SecretState | None,
        asked: Orders,
    ) -> None:
        """Tells pods of a new key before anybody can read it, and of a revoked one at once.

        Raises UnavailableError where they cannot be told: no key is handed out that none of them
        would take, and no grace begins that nobody knows of.
        """
        held = () if observed is None else observed.data.values()
        before = {contract.hash_key(clear) for clear in held}
        fresh = tuple(key for key in registered if key.hash not in before)
        staying = tuple(
            key for key in prior.keys if key.hash in before and not asked.revokes(key.hash)
        )
        if fresh or staying != prior.keys:
            told = msgspec.structs.replace(prior, keys=(*staying, *fresh))
            repairs.note("registry")
            outcome = await attempt(self._registry.publish(told))
            if isinstance(outcome, UnavailableError):
                raise outcome

    async def _announce(self, tenant: Tenant, secret: str, done: Iterable[Deed]) -> None:
        for reason, deeds in groupby(sorted(done), key=lambda deed: deed.reason):
            listed = list(deeds)
            type_, note = _TELLING[reason]
            what = ", ".join(deed.what for deed in listed)
            await self._cluster.post_event(
                tenant.raw, type_, reason, note.format(what=what, secret=secret)
            )
            for deed in listed:
                if deed.by:
                    metrics.KEY_ROTATIONS.labels(deed.by).inc()

    def _check_unshared(self, id_: TenantId, found: tuple[Key, ...], secret: str) -> None:
        other = documents.shared_key(self._registry.documents, id_, (key.hash for key in found))
        if other is not None:
            raise RefusedError(
                "KeyShared",
                f"a key in Secret {secret} is also a key of tenant {other}: "
                "remove it from the Secret, and a new one is generated",
            )


def _is_drift(tenant: Tenant, done: Iterable[Deed]) -> bool:
    """Whether the Secret was changed by hand, and not by spec, schedule or request."""
    meant = {keys.ROTATED, keys.REVOKED, keys.RETIRED}
    return repairs.applied(tenant) and not any(deed.reason in meant for deed in done)


def _registered(prior: TenantDocument | None) -> tuple[Key, ...]:
    return () if prior is None else prior.keys


def _as_registered(prior: TenantDocument) -> TenantSpec:
    """A spec that asks for what pods know, and has no schedule."""
    current = [key for key in prior.keys if key.until is None]
    wanted = tuple(
        ApiKey(
            name=key.name,
            kind=key.kind,
            expires_at=None if key.expires is None else from_micros(key.expires),
        )
        for key in current
    )
    return TenantSpec.model_construct(api_keys=wanted, rotation=Rotation())


def _shown(tenant: Tenant) -> tuple[KeyStatus, ...]:
    """The keys that the status shows; what somebody wrote into it by hand tells nothing."""
    try:
        return tuple(KeyStatus.model_validate(item) for item in tenant.status.get("keys") or ())
    except ValidationError:
        return ()
