"""API keys: what the tenant's Secret must hold, and when it changes by itself. Pure.

The Secret is where a key lives: a well-formed key that somebody wrote there by hand is taken as it
is, one that is missing or malformed is generated anew, and the registry follows. Beside each key
stands, for its grace, the one that it replaced. The Secret's annotations hold times and never a
key; what is lost of them is told by the registry and the status.

A key in its grace leaves by the grace's end, by revocation, or by somebody's hand: by nothing else.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from argus_contract import keys as contract
from argus_contract.keys import HASH_PREFIX, KeyHash, KeyKind
from argus_contract.names import key_secret
from argus_contract.registry import Key
from argus_contract.times import from_micros, to_micros

from argus_operator.errors import BusyError, RefusedError
from argus_operator.models import units
from argus_operator.models.common import Meta
from argus_operator.models.tenant import ApiKey, KeyStatus, PreviousKey, Rotation, TenantSpec

NOTES: Final = ".argus.dev/"
"""What the names of the Secret's annotations that are ours have before the entry's name."""
CREATED: Final = "created.argus.dev/"
UNTIL: Final = "until.argus.dev/"
PREVIOUS: Final = ".previous"
"""Suffix of the entry that holds a key in its grace; no key's name has a dot."""

GENERATED: Final = "KeysGenerated"
REGENERATED: Final = "KeysRegenerated"
ROTATED: Final = "KeysRotated"
REVOKED: Final = "KeyRevoked"
RETIRED: Final = "KeyRetired"
DROPPED: Final = "KeyDropped"
REMOVED: Final = "KeysRemoved"

Generate = Callable[[KeyKind], str]


@dataclass(frozen=True, slots=True)
class SecretState:
    """The Secret as it is; `data` is decoded, `notes` are its annotations that are ours."""

    resource_version: str
    deleting: bool
    managed: bool
    owner_uids: frozenset[str]
    data: Mapping[str, str] = field(repr=False)
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """A key that the Secret holds, and since when it is there."""

    clear: str = field(repr=False)
    created: datetime

    @property
    def hash(self) -> KeyHash:
        """The hash under which it is registered."""
        return contract.hash_key(self.clear)


@dataclass(frozen=True, slots=True)
class Grace(Held):
    """A key that another has replaced; `until` is when it ends."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """A key of the spec with what stands under its name."""

    wanted: ApiKey
    current: Held
    previous: Grace | None

    def rotates_at(self, rotation: Rotation) -> datetime | None:
        """When its schedule asks for the next key, never in a grace; None without a schedule."""
        if rotation.every is None:
            return None
        due = self.current.created + _span(rotation.every)
        return due if self.previous is None else max(due, self.previous.until)


@dataclass(frozen=True, slots=True)
class Orders:
    """What people ask for beside the spec, by ids of keys."""

    rotate: frozenset[str] = frozenset()
    revoke: frozenset[str] = frozenset()

    def revokes(self, hash_: KeyHash) -> bool:
        """Whether this key is to go, under whatever name it stands."""
        return any(id_.rpartition(".")[2] == hash_[:HASH_PREFIX] for id_ in self.revoke)


class Deed(NamedTuple):
    """Something that was done to a key: the event's reason, and to what."""

    reason: str
    what: str
    by: str = ""
    """Of a new key in place of an old one: request, schedule or revocation."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What the Secret shall hold, and how that differs from what it holds."""

    slots: tuple[Slot, ...]
    done: tuple[Deed, ...]
    write: bool

    @property
    def data(self) -> dict[str, str]:
        """The entries."""
        return {name: held.clear for name, held in _entries(self.slots)}

    @property
    def notes(self) -> dict[str, str]:
        """The annotations."""
        notes: dict[str, str] = {}
        for name, held in _entries(self.slots):
            notes[CREATED + name] = units.instant(held.created)
            if isinstance(held, Grace):
                notes[UNTIL + name] = units.instant(held.until)
        return notes

    def due(self, rotation: Rotation) -> datetime | None:
        """When the next thing happens by itself."""
        ends = [slot.previous.until for slot in self.slots if slot.previous is not None]
        rotations = [slot.rotates_at(rotation) for slot in self.slots]
        return min([*ends, *filter(None, rotations)], default=None)


def key_id(name: str, hash_: KeyHash) -> str:
    """`<name>.<hash prefix>`: how people and annotations tell a key from its successor."""
    return f"{name}.{hash_[:HASH_PREFIX]}"


def id_of(key: Key) -> str:
    """The id of a registered key."""
    return key_id(key.name, key.hash)


def plan(
    meta: Meta,
    spec: TenantSpec,
    observed: SecretState | None,
    registered: Sequence[Key],
    shown: Sequence[KeyStatus],
    orders: Orders,
    now: datetime,
    generate: Generate = contract.generate,
) -> KeyPlan:
    """What to write; `registered` are the keys that ingest knows of, `shown` those of the status.

    Raises RefusedError for a Secret that is not ours and BusyError for one that is going away.
    """
    if observed is not None:
        _claim(meta, observed)
    now = now.replace(microsecond=0)
    held = {} if observed is None else observed.data
    done: list[Deed] = []
    memory = _Memory({} if observed is None else observed.notes, registered, shown)
    steps = _Steps(held, memory, spec.rotation, orders, now, generate, done)
    slots = tuple(steps.slot(wanted) for wanted in spec.api_keys)
    ours = {name for key in spec.api_keys for name in (key.name, key.name + PREVIOUS)}
    done += [Deed(REMOVED, name) for name in sorted(set(held) - ours)]
    made = KeyPlan(slots, tuple(done), write=False)
    write = (
        observed is None
        or made.data != dict(held)
        or made.notes != dict(observed.notes)
        or observed.owner_uids != {meta.uid}
        or not observed.managed
    )
    return dataclasses.replace(made, write=write)


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


class _Memory:
    """When keys were made and end: by the Secret's notes, else by what was told of them before."""

    def __init__(
        self, notes: Mapping[str, str], registered: Iterable[Key], shown: Iterable[KeyStatus]
    ) -> None:
        self._notes = notes
        self.registered = tuple(registered)
        self._born = {(key.name, key.hash_prefix): key.created for key in shown} | {
            (key.name, key.previous.hash_prefix): key.previous.created
            for key in shown
            if key.previous is not None
        }

    def created(self, name: str, entry: str, clear: str, now: datetime) -> datetime:
        """When a key was made: never in the future."""
        noted = instant(self._notes.get(CREATED + entry))
        prefix = contract.hash_key(clear)[:HASH_PREFIX]
        return min(noted or self._born.get((name, prefix), now), now)

    def until(self, entry: str, clear: str, otherwise: datetime) -> datetime:
        """When a key in its grace ends."""
        noted = instant(self._notes.get(UNTIL + entry))
        if noted is not None:
            return noted
        hash_ = contract.hash_key(clear)
        told = (key.until for key in self.registered if key.hash == hash_ and key.until is not None)
        return next((from_micros(until) for until in told), otherwise)

    def was_current(self, name: str) -> bool:
        """Whether ingest knows a key of this name that no other has replaced."""
        return any(key.name == name and key.until is None for key in self.registered)

    def in_grace(self, name: str, now: datetime) -> list[Key]:
        """The keys of this name that ingest takes only for the rest of their grace."""
        present = to_micros(now)
        return [
            key
            for key in self.registered
            if key.name == name and key.until is not None and key.until > present
        ]


@dataclass(frozen=True, slots=True)
class _Steps:
    """From what stands under a key's name to what shall: read, retire, revoke, make, rotate."""

    held: Mapping[str, str] = field(repr=False)
    memory: _Memory
    rotation: Rotation
    orders: Orders
    now: datetime
    generate: Generate
    done: list[Deed]

    def slot(self, wanted: ApiKey) -> Slot:
        """The key with its predecessor."""
        previous = self._previous(wanted)
        current = self._current(wanted)
        slot = Slot(wanted, current, previous)
        return self._rotated(slot) if self._due(slot) else slot

    def _previous(self, wanted: ApiKey) -> Grace | None:
        found = self._read_previous(wanted)
        if found is not None and self.orders.revokes(found.hash):
            self.done.append(Deed(REVOKED, key_id(wanted.name, found.hash)))
            return None
        if found is not None and found.until <= self.now:
            self.done.append(Deed(RETIRED, key_id(wanted.name, found.hash)))
            return None
        return found

    def _read_previous(self, wanted: ApiKey) -> Grace | None:
        """The key in its grace; what is no key, or has gone too early, is dropped."""
        entry = wanted.name + PREVIOUS
        clear = self.held.get(entry)
        if clear is not None and usable(clear, wanted.kind):
            otherwise = self.now + _span(self.rotation.grace_period)
            until = self.memory.until(entry, clear, otherwise)
            return Grace(clear, self.memory.created(wanted.name, entry, clear, self.now), until)
        lost = self.memory.in_grace(wanted.name, self.now)
        gone = [id_of(key) for key in lost if not self.orders.revokes(key.hash)]
        if clear is not None or gone:
            self.done.append(Deed(DROPPED, ", ".join(gone) or entry))
        return None

    def _current(self, wanted: ApiKey) -> Held:
        clear = self.held.get(wanted.name, "")
        if not usable(clear, wanted.kind):
            lost = self.memory.was_current(wanted.name)
            self.done.append(Deed(REGENERATED if lost else GENERATED, wanted.name))
            return self._fresh(wanted)
        hash_ = contract.hash_key(clear)
        if self.orders.revokes(hash_):
            fresh = self._fresh(wanted)
            old, new = key_id(wanted.name, hash_), key_id(wanted.name, fresh.hash)
            what = f"{old}, in whose place stands {new}"
            self.done.append(Deed(REVOKED, what, "revocation"))
            return fresh
        created = self.memory.created(wanted.name, wanted.name, clear, self.now)
        return Held(clear, created)

    def _fresh(self, wanted: ApiKey) -> Held:
        return Held(self.generate(wanted.kind), self.now)

    def _due(self, slot: Slot) -> bool:
        if slot.previous is not None:
            return False
        at = slot.rotates_at(self.rotation)
        return self._asked(slot) or (at is not None and at <= self.now)

    def _asked(self, slot: Slot) -> bool:
        return key_id(slot.wanted.name, slot.current.hash) in self.orders.rotate

    def _rotated(self, slot: Slot) -> Slot:
        old, name = slot.current, slot.wanted.name
        until = self.now + _span(self.rotation.grace_period)
        fresh = self._fresh(slot.wanted)
        what = (
            f"{key_id(name, fresh.hash)} is the key now, and {key_id(name, old.hash)} is accepted "
            f"until {units.instant(until)} as {name}{PREVIOUS}"
        )
        by = "request" if self._asked(slot) else "schedule"
        self.done.append(Deed(ROTATED, what, by))
        return Slot(slot.wanted, fresh, Grace(old.clear, old.created, until))


def usable(clear: str, kind: KeyKind) -> bool:
    """Whether this is a key of this kind."""
    return contract.is_well_formed(clear) and contract.kind_of(clear) is kind


def _span(duration: str) -> timedelta:
    return timedelta(seconds=units.seconds(duration))


def instant(stamp: str | None) -> datetime | None:
    """The time that a note says; None for what is no time, or one of no time zone."""
    try:
        found = datetime.fromisoformat(stamp or "")
        return None if found.tzinfo is None else found.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None


def _entries(slots: Iterable[Slot]) -> Iterable[tuple[str, Held]]:
    for slot in slots:
        yield slot.wanted.name, slot.current
        if slot.previous is not None:
            yield slot.wanted.name + PREVIOUS, slot.previous


def register(slots: Sequence[Slot]) -> tuple[Key, ...]:
    """The keys as ingest knows them, in the spec's order, each before its predecessor.

    A key that somebody put under two names ends where it ends last.
    """
    ends = _ends(slots)
    found: list[Key] = []
    for slot in slots:
        wanted = slot.wanted
        expires = None if wanted.expires_at is None else to_micros(wanted.expires_at)
        found.append(Key(slot.current.hash, wanted.name, wanted.kind, expires))
        if slot.previous is not None and ends.get(slot.previous.hash) == slot.previous.until:
            until = to_micros(slot.previous.until)
            found.append(Key(slot.previous.hash, wanted.name, wanted.kind, expires, until))
    return tuple(found)


def _ends(slots: Sequence[Slot]) -> dict[KeyHash, datetime]:
    """When keys that are no current ones end."""
    current = {slot.current.hash for slot in slots}
    ends: dict[KeyHash, datetime] = {}
    for slot in slots:
        before = slot.previous
        if before is not None and before.hash not in current:
            ends[before.hash] = max(before.until, ends.get(before.hash, before.until))
    return ends


def describe(slots: Iterable[Slot], rotation: Rotation) -> tuple[KeyStatus, ...]:
    """The keys as `status` shows them."""
    return tuple(
        KeyStatus(
            id=key_id(slot.wanted.name, slot.current.hash),
            name=slot.wanted.name,
            kind=slot.wanted.kind,
            hash_prefix=slot.current.hash[:HASH_PREFIX],
            created=slot.current.created,
            expires=slot.wanted.expires_at,
            rotates_at=slot.rotates_at(rotation),
            previous=_previous_status(slot),
        )
        for slot in slots
    )


def _previous_status(slot: Slot) -> PreviousKey | None:
    if slot.previous is None:
        return None
    return PreviousKey(
        id=key_id(slot.wanted.name, slot.previous.hash),
        hash_prefix=slot.previous.hash[:HASH_PREFIX],
        created=slot.previous.created,
        valid_until=slot.previous.until,
    )
