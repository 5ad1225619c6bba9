"""API keys: what the tenant's Secret must hold. Pure.

The Secret is where a key lives: a well-formed key that somebody wrote there by hand is taken as it
is, one that is missing or malformed is generated anew, and the registry follows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from argus_contract import keys as contract
from argus_contract.keys import HASH_PREFIX, KeyHash, KeyKind
from argus_contract.names import key_secret
from argus_contract.registry import Key
from argus_contract.times import to_micros

from argus_operator.errors import BusyError, RefusedError
from argus_operator.models.common import Meta
from argus_operator.models.tenant import ApiKey, KeyStatus

CREATED: Final = "created.argus.dev/"
"""Prefix of the Secret's annotations that say when each key was made."""

Generate = Callable[[KeyKind], str]


@dataclass(frozen=True, slots=True)
class SecretState:
    """The Secret as it is; `data` is decoded."""

    resource_version: str
    deleting: bool
    managed: bool
    owner_uids: frozenset[str]
    data: Mapping[str, str] = field(repr=False)
    created: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What the Secret shall hold, and how that differs from what it holds."""

    data: Mapping[str, str] = field(repr=False)
    created: Mapping[str, str]
    generated: tuple[str, ...]
    lost: tuple[str, ...]
    removed: tuple[str, ...]
    write: bool


def plan(
    meta: Meta,
    wanted: Sequence[ApiKey],
    observed: SecretState | None,
    registered: Mapping[str, KeyHash],
    now: datetime,
    generate: Generate = contract.generate,
) -> KeyPlan:
    """What to write; `registered` are hashes by key name that ingest knows of.

    Raises RefusedError for a Secret that is not ours and BusyError for one that is going away.
    """
    if observed is not None:
        _claim(meta, observed)
    held = {} if observed is None else observed.data
    data = {key.name: held.get(key.name, "") for key in wanted}
    generated = tuple(key.name for key in wanted if not _usable(data[key.name], key.kind))
    kinds = {key.name: key.kind for key in wanted}
    data.update({name: generate(kinds[name]) for name in generated})
    created = _created(data, generated, observed, now)
    return KeyPlan(
        data=data,
        created=created,
        generated=generated,
        lost=tuple(name for name in generated if name in registered),
        removed=tuple(sorted(set(held) - set(data))),
        write=observed is None
        or data != dict(held)
        or created != dict(observed.created)
        or observed.owner_uids != {meta.uid}
        or not observed.managed,
    )


def _claim(meta: Meta, observed: SecretState) -> None:
    name = key_secret(meta.name)
    if observed.deleting or (observed.owner_uids and meta.uid not in observed.owner_uids):
        raise BusyError(
            "SecretTerminating",
            f"Secret {name} belongs to an earlier tenant of this name and is going away; "
            f"if it stays, delete it: kubectl -n {meta.namespace} delete secret {name}",
        )
    if not observed.owner_uids and not observed.managed:
        raise RefusedError(
            "SecretNotOurs",
            f"Secret {name} exists and was not made by ARGUS: rename or delete it",
        )


def _usable(key: str, kind: KeyKind) -> bool:
    return contract.is_well_formed(key) and contract.kind_of(key) is kind


def _created(
    data: Mapping[str, str],
    generated: Sequence[str],
    observed: SecretState | None,
    now: datetime,
) -> dict[str, str]:
    stamp = now.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    known = {} if observed is None else observed.created
    return {name: stamp if name in generated else known.get(name, stamp) for name in data}


def register(wanted: Sequence[ApiKey], data: Mapping[str, str]) -> tuple[Key, ...]:
    """The keys as ingest knows them, in the spec's order."""
    return tuple(
        Key(
            hash=contract.hash_key(data[key.name]),
            name=key.name,
            kind=key.kind,
            expires=None if key.expires_at is None else to_micros(key.expires_at),
        )
        for key in wanted
    )


def describe(
    wanted: Sequence[ApiKey], keys: Sequence[Key], created: Mapping[str, str]
) -> tuple[KeyStatus, ...]:
    """The keys as `status` shows them."""
    expires = {key.name: key.expires_at for key in wanted}
    return tuple(
        KeyStatus(
            name=key.name,
            kind=key.kind,
            hash_prefix=key.hash[:HASH_PREFIX],
            created=datetime.fromisoformat(created[key.name]),
            expires=expires.get(key.name),
        )
        for key in keys
    )
