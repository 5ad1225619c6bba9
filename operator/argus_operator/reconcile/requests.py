"""What people ask of a tenant's keys by annotation: rotate these, revoke those.

A request is bound to a key before it is carried out: `argus.dev/rotate: web` is first rewritten to
the id of the key that it means (`web.3f9a12bc`). Once that key stands there no more the request is
done, so a crash at any moment repeats none. Deciding is pure; `Requests` only reads and annotates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from argus_contract import keys as contract
from argus_contract import names
from argus_contract.registry import Key

from argus_operator import keys
from argus_operator.keys import PREVIOUS, UNTIL, Orders, SecretState
from argus_operator.models import units
from argus_operator.models.common import REVOKE, ROTATE
from argus_operator.ports import Cluster
from argus_operator.reconcile import repairs
from argus_operator.reconcile.status import WARNING
from argus_operator.resources import Tenant

UNKNOWN: Final = "UnknownKey"
REFUSED: Final = "RotationRefused"


@dataclass(frozen=True, slots=True)
class Ids:
    """The keys under one name, by id; `until` is when the previous one ends, if the Secret says."""

    current: str | None
    previous: str | None
    until: datetime | None
    registered: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that may be accepted under this name."""
        return tuple(filter(None, (self.current, self.previous, *self.registered)))


@dataclass(frozen=True, slots=True)
class Binding:
    """What the annotations are to say, and what is refused, as an event's reason and note."""

    annotations: Mapping[str, str | None]
    refused: tuple[tuple[str, str], ...]


def known(
    observed: SecretState | None, registered: Iterable[Key], wanted: Iterable[str]
) -> dict[str, Ids]:
    """The ids under each name that the spec, the Secret or the registry has."""
    data = {} if observed is None else observed.data
    notes = {} if observed is None else observed.notes
    told = tuple(registered)
    every = {name.removesuffix(PREVIOUS) for name in data}
    every |= {key.name for key in told} | set(wanted)
    return {
        name: Ids(
            _id(name, data.get(name)),
            _id(name, data.get(name + PREVIOUS)),
            keys.instant(notes.get(UNTIL + name + PREVIOUS)),
            tuple(keys.id_of(key) for key in told if key.name == name),
        )
        for name in every
    }


def _id(name: str, clear: str | None) -> str | None:
    if clear is None or not contract.is_well_formed(clear):
        return None
    return keys.key_id(name, contract.hash_key(clear))


def bind(
    annotations: Mapping[str, str], found: Mapping[str, Ids], now: datetime, kinds: Sequence[str]
) -> Binding:
    """The requests of these kinds by id of what they mean; without those that cannot be."""
    refused: list[tuple[str, str]] = []
    bound: dict[str, str | None] = {}
    leaving: set[str] = set()
    if REVOKE in annotations and REVOKE in kinds:
        leaving.update(_bound_revocations(annotations[REVOKE], found, refused))
        bound[REVOKE] = ",".join(sorted(leaving)) or None
    if ROTATE in annotations and ROTATE in kinds:
        ids = _bound_rotations(annotations[ROTATE], found, leaving, now, refused)
        bound[ROTATE] = ",".join(sorted(ids)) or None
    changes = {name: value for name, value in bound.items() if annotations[name] != value}
    return Binding(changes, tuple(refused))


def asked(annotations: Mapping[str, str], annotation: str) -> frozenset[str]:
    """The names or ids that an annotation lists."""
    parts = (part.strip() for part in annotations.get(annotation, "").split(","))
    return frozenset(part for part in parts if part)


def _parts(
    annotations: Mapping[str, str], annotation: str, found: Mapping[str, Ids]
) -> Sequence[str]:
    """The names or ids that are asked for; a key that somebody wrote there in clear is its id."""
    return sorted({_in_public(part, found) for part in asked(annotations, annotation)})


def _in_public(part: str, found: Mapping[str, Ids]) -> str:
    if not contract.is_well_formed(part):
        return part
    prefix = contract.hash_key(part)[: contract.HASH_PREFIX]
    every = (id_ for ids in found.values() for id_ in ids.all)
    return next((id_ for id_ in every if id_.rpartition(".")[2] == prefix), f"?.{prefix}")


def _bound_revocations(
    value: str, found: Mapping[str, Ids], refused: list[tuple[str, str]]
) -> Iterable[str]:
    for part in _parts({REVOKE: value}, REVOKE, found):
        ids = found.get(part.partition(".")[0])
        if ids is not None and part in found:
            yield from ids.all
        elif ids is not None and ids.previous and part == part.partition(".")[0] + PREVIOUS:
            yield ids.previous
        elif ids is not None and part in ids.all:
            yield part
        else:
            refused.append((UNKNOWN, _unknown(REVOKE, part, found)))


def _bound_rotations(
    value: str,
    found: Mapping[str, Ids],
    leaving: set[str],
    now: datetime,
    refused: list[tuple[str, str]],
) -> Iterable[str]:
    for part in _parts({ROTATE: value}, ROTATE, found):
        ids = found.get(part.partition(".")[0])
        if ids is None or (part not in found and part not in ids.all):
            refused.append((UNKNOWN, _unknown(ROTATE, part, found)))
        elif ids.current is None or part not in (ids.current, *found):
            continue  # a new key is made anyway, or stands there already
        elif _in_grace(ids, leaving, now):
            refused.append((REFUSED, _too_early(part, ids)))
        else:
            yield ids.current


def _in_grace(ids: Ids, leaving: set[str], now: datetime) -> bool:
    if ids.previous is None or ids.previous in leaving:
        return False
    return ids.until is None or ids.until > now


def _unknown(annotation: str, part: str, found: Mapping[str, Ids]) -> str:
    there = ", ".join(sorted(found)) or "none"
    return f"{annotation}: there is no key {part} (any more), so nothing is done; keys: {there}"


def _too_early(part: str, ids: Ids) -> str:
    until = "the end of its grace" if ids.until is None else units.instant(ids.until)
    return (
        f"{ROTATE}: {part} is not rotated, since {ids.previous} is accepted until {until} and "
        f"would be cut short: ask again afterwards, or revoke {ids.previous} first"
    )


class Requests:
    """Binds the requests of a tenant, and takes them off once they are carried out."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def bind(
        self, tenant: Tenant, registered: Sequence[Key], now: datetime, kinds: Sequence[str]
    ) -> Tenant:
        """The tenant with its requests of these kinds bound to keys.

        Raises BusyError where it has changed since it was read: then all is to be looked at anew.
        """
        annotations = tenant.meta.annotations
        if not any(kind in annotations for kind in kinds):
            return tenant
        secret = names.key_secret(tenant.meta.name)
        observed = await self._cluster.get_secret(tenant.meta.namespace, secret)
        wanted = () if tenant.spec is None else (key.name for key in tenant.spec.api_keys)
        found = bind(annotations, known(observed, registered, wanted), now, kinds)
        bound = await self._annotate(tenant, found.annotations)
        for reason, note in found.refused:
            await self._cluster.post_event(tenant.raw, WARNING, reason, note)
        return bound

    async def close(self, tenant: Tenant, kinds: Sequence[str]) -> None:
        """Takes off the requests of these kinds; raises BusyError where the tenant has changed."""
        present = [kind for kind in kinds if kind in tenant.meta.annotations]
        await self._annotate(tenant, dict.fromkeys(present))

    async def _annotate(self, tenant: Tenant, changes: Mapping[str, str | None]) -> Tenant:
        if not changes:
            return tenant
        repairs.note("request")
        meta = await self._cluster.annotate(tenant.plural, tenant.meta, changes)
        return tenant.with_meta(meta)


def orders(tenant: Tenant) -> Orders:
    """What the tenant's bound annotations ask for."""
    annotations = tenant.meta.annotations
    return Orders(rotate=asked(annotations, ROTATE), revoke=asked(annotations, REVOKE))
