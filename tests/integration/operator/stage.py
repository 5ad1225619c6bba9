"""An operator, a user and the world between them: the same words over fakes and over real engines.

A test acts as the user, lets the operator settle and looks from outside. The operator may be ended
at any of its calls and begun anew; what it leaves in the end is one comparable value.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol

import msgspec
from argus_contract import keys, names
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId, TopicName
from argus_contract.quotas import Usage
from argus_contract.registry import TenantDocument
from argus_operator.errors import OperatorError
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.models.tenant import KeyBucket
from argus_operator.ports import Cluster, Registry, Schemas, Topics
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.sweep import Sweep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family, ReplayKey
from argus_operator.resync import Replays, Resync
from argus_operator.schemas import PipelineObserved
from argus_operator.settings import ResyncSettings, Tier
from argus_operator.tiers import TierBook
from argus_operator.topics import DiskBudget, TopicState

from tests.integration.operator.crash.tripwire import Tripwire
from tests.unit.operator.world import SHOP, WEB

SIZES: Final[Mapping[str, Any]] = {
    "topic": {"retention": {"bytes": "64Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}
TIERS: Final = {"standard": Tier(), "large": Tier(per_key=KeyBucket(rate=9_000, burst=90_000))}
RETRY_S: Final = 1.0
SOON_S: Final = 60.0
"""An operator that asks to be looked at again so soon is waited for; the end of a grace is not."""
TRIES: Final = 12
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_MICROS = re.compile(r"\b\d{16}\b")
_FIGURES: Final = ("rates", "audit")
"""Of a pipeline's status, what depends on how often it was looked at."""
_CONFIGS: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "segment.bytes")

State = Mapping[str, Any]


class Stage(Protocol):
    """What both kinds do alike, over what each does in its own way."""

    namespace: str
    wire: Tripwire
    kafka: Topics
    """Topics, by another hand than the operator's."""
    _resync: Resync
    _sweep: Sweep
    _woken: list[Family]
    uids: list[tuple[str, str]]
    """Of all that was ever applied, as `plural/name` and uid, in order."""
    keys_before: Mapping[str, str]
    """What the Secret held before what a test is about; tests set it."""

    # What a user does

    async def apply(self, plural: str, name: str, spec: Mapping[str, Any]) -> None:
        """Makes an object, or gives it another spec."""

    async def annotate(self, plural: str, name: str, **annotations: str | None) -> None:
        """Sets annotations `argus.dev/<name>`; None removes one."""

    async def delete(self, plural: str, name: str) -> None:
        """Asks for an object's deletion."""

    async def write_secret(self, data: Mapping[str, str] | None) -> None:
        """Makes the tenant's Secret hold this; None deletes it."""

    async def collect(self) -> None:
        """Deletes the Secret of a tenant that is no more, as Kubernetes' garbage collector does."""

    async def count(self, pipeline: str) -> None:
        """Counts something live in Redis, as the stream would."""

    async def define_tiers(self, tiers: Mapping[str, Mapping[str, Any]]) -> None:
        """Changes the file that holds the tiers, under the operator's feet."""

    async def send(self, pipeline: str, sent: int, counted: int) -> None:
        """A pipeline's log has taken `sent` records, of which ingest counted the last ones."""

    async def lose_usage(self) -> None:
        """Redis forgets what it has counted of the tenant's quota."""

    async def use_key(self, name: str, moment: datetime) -> None:
        """Ingest notes when a key of the Secret was used."""

    async def lose_table(self, uid: str) -> None:
        """Drops of a pipeline's tables what nobody should have dropped."""

    async def lose_document(self, tenant: TenantId) -> None:
        """Takes a tenant out of the registry by a stranger's hand."""

    async def tick(self) -> None:
        """Waits until what is made next is younger than what there is."""

    # What is looked at

    async def object(self, plural: str, name: str) -> Raw | None:
        """An object, None where there is none."""

    async def secret(self) -> Mapping[str, str] | None:
        """What the tenant's Secret holds, None where there is none."""

    async def events(self, name: str) -> list[str]:
        """Reasons of the events on an object."""

    async def documents(self) -> tuple[Mapping[TenantId, TenantDocument], bool]:
        """The registry as a new pod reads it, and whether it is whole."""

    async def tables(self, uid: str) -> PipelineObserved:
        """What PostgreSQL has of a pipeline."""

    async def tenants(self) -> Mapping[str, bool]:
        """Tenants that PostgreSQL knows, by id; whether retained."""

    async def counters(self) -> Sequence[str]:
        """Pipelines that something is counted live of."""

    async def usage(self, tenant: TenantId) -> Usage | None:
        """What Redis has counted of a tenant's quota."""

    async def used(self, tenant: TenantId) -> Mapping[KeyHash, int]:
        """The minutes in which a tenant's keys were used, as Redis has them."""

    # What the operator does

    async def pass_time(self, seconds: float) -> None:
        """Lets the operator's clock go on."""

    async def restart(self) -> None:
        """Ends the operator's process, if it still lives, and begins another that knows nothing."""

    # Alike

    async def round(self, wake: Callable[[Family], None]) -> None:
        """A round of the resync."""
        self._woken.clear()
        await self._resync.round()
        for family in self._woken:
            wake(family)

    async def reconcile(self, family: Family) -> Verdict:
        """One look at a family."""
        return await self._sweep.reconcile(family)

    def note(self, plural: str, made: Raw) -> None:
        """Remembers whom an object was, for it may go."""
        who = (f"{plural}/{made['metadata']['name']}", made["metadata"]["uid"])
        if who not in self.uids:
            self.uids.append(who)

    @property
    def family(self) -> Family:
        """The one that tests are about."""
        return Family(self.namespace, SHOP)

    async def tenant(self, **spec: Any) -> None:
        """Applies the tenant `shop`."""
        await self.apply(TENANTS, SHOP, spec)

    async def pipeline(self, name: str = WEB, **spec: Any) -> None:
        """Applies a pipeline of the tenant `shop`, its topics small."""
        await self.apply(PIPELINES, name, {"tenantRef": {"name": SHOP}} | dict(SIZES) | spec)

    async def settle(self) -> None:
        """What the process does until nothing more is asked for: a round, and whom it woke."""
        woken = {self.family}
        seen = False
        for _ in range(TRIES):
            waits: list[float] = []
            if not seen:
                seen = await self._round(woken)
                waits += [] if seen else [RETRY_S]
            for family in sorted(woken, key=str):
                waits += await self._look(family)
            if not waits:
                return
            await self.pass_time(max(waits))
        raise AssertionError(f"it does not settle: {await self.end_state()}")

    async def look(self) -> None:
        """A round and one look: for what is tried for ever and never settles."""
        woken = {self.family}
        await self._round(woken)
        for family in sorted(woken, key=str):
            await self._look(family)

    async def woken(self) -> set[Family]:
        """Whom a round finds to be looked at."""
        found: set[Family] = set()
        await self.round(found.add)
        return found

    async def _round(self, woken: set[Family]) -> bool:
        try:
            await self.round(woken.add)
        except OperatorError:  # as the resync does: the next one will tell
            return False
        return True

    async def _look(self, family: Family) -> list[float]:
        """In how many seconds to look again, if at all."""
        try:
            verdict = await self.reconcile(family)
        except OperatorError:  # as the controller does
            return [RETRY_S]
        if verdict.retry:
            return [RETRY_S]
        if verdict.again_in is None or verdict.again_in > SOON_S:
            return []
        return [verdict.again_in]

    async def present(self, plural: str, name: str) -> Raw:
        """An object that is there."""
        found = await self.object(plural, name)
        assert found is not None, f"{plural}/{name} is not there"
        return found

    async def uid(self, plural: str, name: str) -> str:
        """The uid of an object."""
        found: str = (await self.present(plural, name))["metadata"]["uid"]
        return found

    async def condition(self, plural: str, name: str, type_: str = "Ready") -> tuple[str, str]:
        """Status and reason of a condition."""
        status = (await self.present(plural, name)).get("status", {})
        [found] = [item for item in status.get("conditions", ()) if item["type"] == type_]
        return found["status"], found["reason"]

    async def id(self) -> TenantId:
        """The id of the tenant `shop` as it is now."""
        return names.tenant_id(self.namespace, SHOP, await self.uid(TENANTS, SHOP))

    async def document(self) -> TenantDocument:
        """What pods know of the tenant `shop`."""
        return (await self.documents())[0][await self.id()]

    async def topic(self, name: str = WEB) -> TopicName:
        """The topic of a pipeline."""
        return names.topic(self.namespace, name, await self.uid(PIPELINES, name))

    async def topics(self) -> dict[TopicName, TopicState]:
        """All topics of this namespace."""
        return await self.kafka.matching(f"argus.{self.namespace}.")

    async def end_state(self) -> State:
        """All that the operator leaves, but for uids, times, revisions, figures and the keys.

        A hash stands for the key of the Secret that it is of; one that is of none stays as it is,
        and so equals nothing.
        """
        held = await self.secret()
        documents, whole = await self.documents()
        state = {
            "objects": {label: await self._shown(label) for label, _ in self.uids},
            "secret": None if held is None else {k: keys.kind_of(v) for k, v in held.items()},
            "registry": {"whole": whole, "documents": {k: _told(v) for k, v in documents.items()}},
            "topics": {name: _kept(found) for name, found in (await self.topics()).items()},
            "tables": {uid: asdict(await self.tables(uid)) for uid in self.pipelines()},
            "tenants": await self.tenants(),
            "counters": await self.counters(),
        }
        return self._without_chance(state, held or {})

    def pipelines(self) -> list[str]:
        """The uids of all pipelines that were ever applied."""
        return [uid for label, uid in self.uids if label.startswith(PIPELINES)]

    async def _shown(self, label: str) -> Any:
        found = await self.object(*label.split("/"))
        if found is None:
            return None
        status = {k: v for k, v in found.get("status", {}).items() if k not in _FIGURES}
        kept = ("finalizers", "annotations", "generation", "deletionTimestamp")
        meta = {k: v for k, v in found["metadata"].items() if k in kept and v}
        return {"metadata": meta, "status": status}

    def _without_chance(self, state: State, held: Mapping[str, str]) -> State:
        text = json.dumps(state, default=str)
        for old, new in self._stand_ins(held):
            text = text.replace(old, new)
        found: State = json.loads(_MICROS.sub("0", _TIME.sub("<time>", text)))
        return found

    def _stand_ins(self, held: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for number, (label, uid) in enumerate(self.uids, 1):
            yield uid, f"<uid {number} {label}>"
            yield names.short_uid(uid), f"<{number}>"
        for name, key in held.items():
            digest = keys.hash_key(key)
            yield digest, f"<hash of {name}>"
            yield digest[: keys.HASH_PREFIX], f"<prefix of {name}>"
        yield self.namespace, "<namespace>"


def _told(document: TenantDocument) -> Any:
    told: dict[str, Any] = msgspec.to_builtins(document)
    del told["revision"]
    return told


def _kept(state: TopicState) -> Any:
    configs = {name: state.configs.get(name) for name in _CONFIGS}
    return {"partitions": state.partitions, "configs": configs}


def coroutines(port: type) -> list[str]:
    """Names of what a port lets an operator ask of the outside."""
    return [name for name, member in vars(port).items() if iscoroutinefunction(member)]


def resync(
    cluster: Cluster,
    registry: Registry,
    kafka: Topics,
    database: Schemas,
    keeper: Bookkeeper,
    replays: Replays,
    wake: Callable[[Family], None],
    reconcile: Callable[[Family], Awaitable[Verdict]],
    tiers: TierBook,
    usage: UsageBook,
) -> tuple[Resync, Sweep]:
    """The resync and the sweep as a process begins them, for rounds that are asked for singly."""
    budget = DiskBudget(None, 1.0, 1)
    settings = ResyncSettings()
    sweep = Sweep(reconcile, Health(keeper), tiers, usage, settings.full)
    made = Resync(
        *(cluster, registry, kafka, database, keeper, budget, wake, replays, _nobody),
        *(sweep, tiers, usage, _unheard, settings),
    )
    return made, sweep


def _unheard(_plural: str, _listed: Sequence[Raw]) -> None:
    """No watch is held against the lists."""


def _nobody(_: ReplayKey) -> None:
    """Replays are not what these tests are about."""
