"""In-memory adapters, held to the contract of the real ones by tests/integration/operator."""

import dataclasses
import itertools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from argus_contract import names, quotas
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId, TopicName
from argus_contract.quotas import Usage
from argus_contract.registry import TenantDocument
from argus_contract.states import State
from argus_contract.times import to_micros
from argus_operator import documents
from argus_operator.errors import BusyError, OperatorError, RefusedError, UnavailableError
from argus_operator.jobs import Run, Word
from argus_operator.keys import SecretState
from argus_operator.lease import Record
from argus_operator.ledger import Audit, Books
from argus_operator.models.common import FINALIZER, GROUP, VERSION, Meta, Model, Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.models.replay import PLURAL as REPLAYS
from argus_operator.models.replay import ReplaySpec
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.models.tenant import TenantSpec
from argus_operator.schemas import PipelineObserved, PipelineTables, TenantSchema
from argus_operator.topics import Action, Backlog, Configure, Create, Grow, TopicState
from argus_operator.usage import Reading

NAMESPACE = "shops"
KINDS = {TENANTS: "ArgusTenant", PIPELINES: "ArgusPipeline", REPLAYS: "ArgusReplay"}
MODELS: dict[str, type[Model]] = {
    TENANTS: TenantSpec,
    PIPELINES: PipelineSpec,
    REPLAYS: ReplaySpec,
}


class Failing:
    """An adapter that can be told to fail: every call then raises `error`."""

    error: OperatorError | None = None

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


def away(reason: str) -> UnavailableError:
    """The error of a dependency that does not answer."""
    return UnavailableError(reason, f"{reason}: no answer")


def _merged(held: Any, patch: Any) -> Any:
    """As RFC 7396 has it: null removes, and what a patch does not name stays."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(held) if isinstance(held, Mapping) else {}
    found |= {name: _merged(found.get(name), value) for name, value in patch.items()}
    return {name: value for name, value in found.items() if value is not None}


@dataclass
class FakeCluster(Failing):
    """The API server's store, with finalizers, generations and optimistic concurrency."""

    stored: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    secrets: dict[tuple[str, str], SecretState] = field(default_factory=dict)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    status_writes: int = 0
    refuse_finalizers: bool = False
    versions: Iterable[int] = field(default_factory=lambda: itertools.count(1))
    born: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def _version(self) -> str:
        return str(next(iter(self.versions)))

    def apply(self, plural: str, name: str, spec: Mapping[str, Any], **meta: Any) -> Raw:
        """Creates or changes an object as kubectl would; gives it as stored."""
        key = (plural, NAMESPACE, name)
        filled = MODELS[plural].model_validate(spec)
        wanted = filled.model_dump(mode="json", by_alias=True, exclude_none=True)
        found = self.stored.get(key)
        if found is None:
            self.born += timedelta(seconds=1)
            found = self.stored[key] = {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KINDS[plural],
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "uid": str(uuid.uuid4()),
                    "generation": 0,
                    "creationTimestamp": self.born.isoformat(),
                },
            }
        if found.get("spec") != wanted:
            found["metadata"]["generation"] += 1
        found["spec"] = wanted
        found["metadata"] |= meta | {"resourceVersion": self._version()}
        return found

    def delete(self, plural: str, name: str) -> None:
        """Asks for an object's deletion: it goes at once unless a finalizer holds it."""
        found = self.stored[(plural, NAMESPACE, name)]
        if not found["metadata"].get("finalizers"):
            del self.stored[(plural, NAMESPACE, name)]
            return
        found["metadata"]["deletionTimestamp"] = self.born.isoformat()
        found["metadata"]["resourceVersion"] = self._version()

    def condition(self, plural: str, name: str, type_: str = "Ready") -> tuple[str, str]:
        """Status and reason of a condition."""
        (found,) = (
            item
            for item in self.stored[(plural, NAMESPACE, name)]["status"]["conditions"]
            if item["type"] == type_
        )
        return found["status"], found["reason"]

    def status(self, plural: str, name: str) -> dict[str, Any]:
        """The status of an object."""
        found: dict[str, Any] = self.stored[(plural, NAMESPACE, name)].get("status", {})
        return found

    async def objects(self, plural: str, namespace: str | None = None) -> list[Raw]:
        self._fail()
        return [
            msgspec.json.decode(msgspec.json.encode(found))
            for (kind, where, _), found in self.stored.items()
            if kind == plural and namespace in (None, where)
        ]

    async def get(self, plural: str, namespace: str, name: str) -> Raw | None:
        self._fail()
        found = self.stored.get((plural, namespace, name))
        if found is None:
            return None
        copy: Raw = msgspec.json.decode(msgspec.json.encode(found))
        return copy

    async def patch_status(self, plural: str, meta: Meta, status: Mapping[str, Any]) -> None:
        self._fail()
        found = self.stored.get((plural, meta.namespace, meta.name))
        if found is None:
            return
        self.status_writes += 1
        found["status"] = _merged(found.get("status"), status)
        found["metadata"]["resourceVersion"] = self._version()

    async def set_finalizer(self, plural: str, meta: Meta, present: bool) -> None:
        self._fail()
        key = (plural, meta.namespace, meta.name)
        found = self.stored.get(key)
        if found is None:
            if present:
                raise BusyError("Vanished", "the object was deleted")
            return
        stale = found["metadata"]["resourceVersion"] != meta.resource_version
        if stale or self.refuse_finalizers:
            raise BusyError("Changed", "the object has been modified")
        others = [name for name in meta.finalizers if name != FINALIZER]
        found["metadata"]["finalizers"] = [*others, FINALIZER] if present else others
        found["metadata"]["resourceVersion"] = self._version()
        if found["metadata"].get("deletionTimestamp") and not found["metadata"]["finalizers"]:
            del self.stored[key]

    async def annotate(
        self, plural: str, meta: Meta, annotations: Mapping[str, str | None]
    ) -> Meta:
        self._fail()
        found = self.stored.get((plural, meta.namespace, meta.name))
        if found is None:
            raise BusyError("Vanished", "the object was deleted")
        if found["metadata"]["resourceVersion"] != meta.resource_version:
            raise BusyError("Changed", "the object has been modified")
        merged = found["metadata"].get("annotations", {}) | dict(annotations)
        kept = {name: value for name, value in merged.items() if value is not None}
        found["metadata"] |= {"annotations": kept, "resourceVersion": self._version()}
        return Meta.model_validate(found["metadata"])

    async def get_secret(self, namespace: str, name: str) -> SecretState | None:
        self._fail()
        return self.secrets.get((namespace, name))

    async def write_secret(
        self,
        owner: Raw,
        name: str,
        observed: SecretState | None,
        data: Mapping[str, str],
        notes: Mapping[str, str],
    ) -> None:
        self._fail()
        key = (owner["metadata"]["namespace"], name)
        held = self.secrets.get(key)
        if (held and held.resource_version) != (observed and observed.resource_version):
            raise BusyError("Changed", "the Secret has been modified")
        self.secrets[key] = SecretState(
            resource_version=self._version(),
            deleting=False,
            managed=True,
            owner_uids=frozenset({owner["metadata"]["uid"]}),
            data=dict(data),
            notes=dict(notes),
        )

    async def post_event(self, subject: Raw, type_: str, reason: str, note: str) -> None:
        self.events.append((subject["metadata"]["name"], type_, reason, note))

    def notes(self, name: str) -> list[str]:
        """Texts of the events on an object, in order."""
        return [note for subject, _, _, note in self.events if subject == name]

    def told(self, name: str) -> list[str]:
        """Reasons of the events on an object, in order."""
        return [reason for subject, _, reason, _ in self.events if subject == name]


@dataclass
class FakeJobs(Failing):
    """Jobs without a kubelet: tests say how they end and what their pods say."""

    held: dict[str, Run] = field(default_factory=dict)
    words: dict[str, Word] = field(default_factory=dict)
    manifests: list[Mapping[str, Any]] = field(default_factory=list)
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)

    async def runs(self) -> list[Run]:
        self._fail()
        return list(self.held.values())

    async def create(self, manifest: Mapping[str, Any]) -> None:
        self._fail()
        name = manifest["metadata"]["name"]
        if name not in self.held:
            self.manifests.append(manifest)
            stamped = {"creationTimestamp": self.now.isoformat()} | manifest["metadata"]
            self.held[name] = Run.parse({"metadata": stamped})

    async def delete(self, run: Run) -> None:
        self._fail()
        if run.name in self.held:
            self.change(run.name, deleting=True)

    async def word(self, run: Run) -> Word:
        self._fail()
        return self.words.get(run.name, Word())

    def change(self, name: str, **fields: Any) -> None:
        """What Kubernetes does with a Job."""
        self.held[name] = dataclasses.replace(self.held[name], **fields)


@dataclass
class FakeTopics(Failing):
    """A broker's topics."""

    topics: dict[TopicName, TopicState] = field(default_factory=dict)
    done: list[Action] = field(default_factory=list)
    unread: Backlog = field(default_factory=lambda: Backlog(0.0, False))

    async def matching(
        self, prefix: str, others: Collection[TopicName] = ()
    ) -> dict[TopicName, TopicState]:
        self._fail()
        return {
            name: state
            for name, state in self.topics.items()
            if name.startswith(prefix) or name in others
        }

    async def observe(self, topics: Iterable[TopicName]) -> dict[TopicName, TopicState]:
        self._fail()
        return {name: self.topics[name] for name in topics if name in self.topics}

    async def backlog(self, topic: TopicName, partitions: int, retention_ms: int) -> Backlog:
        self._fail()
        return self.unread

    async def apply(self, actions: Sequence[Action]) -> None:
        self._fail()
        for action in actions:
            self.done.append(action)
            match action:
                case Create(spec):
                    self.topics.setdefault(spec.name, TopicState(spec.partitions, spec.configs))
                case Grow(name, partitions):
                    if partitions <= self.topics[name].partitions:
                        raise away("KafkaUnavailable")
                    self.topics[name] = TopicState(partitions, self.topics[name].configs)
                case Configure(name, configs):
                    self.topics[name] = TopicState(self.topics[name].partitions, configs)

    async def delete(self, topics: Sequence[TopicName]) -> None:
        self._fail()
        for name in topics:
            self.topics.pop(name, None)


@dataclass
class FakeRegistry(Failing):
    """The registry's topic and what pods have been told."""

    held: dict[TenantId, TenantDocument] = field(default_factory=dict)
    written: dict[TenantId, float] = field(default_factory=dict)
    writes: list[tuple[TenantId, bool]] = field(default_factory=list)
    expected: set[TenantId] | None = field(default_factory=set)
    marks: int = 0
    revision: int = 0
    now: float = 1_000_000.0

    @property
    def documents(self) -> documents.Documents:
        return self.held

    def settled(self, tenant: TenantId, seconds: float) -> bool:
        return self.now - self.written.get(tenant, 0.0) >= seconds

    def expect(self, tenants: Iterable[TenantId]) -> None:
        self.expected = set(tenants)

    async def load(self) -> None:
        self._fail()

    async def publish(self, document: TenantDocument) -> bool:
        self._fail()
        new = not documents.same(self.held.get(document.id), document)
        if new:
            documents.check_size(document)
            self.revision += 1
            self._write(document.id, msgspec.structs.replace(document, revision=self.revision))
        self._check()
        return new

    async def retire(self, tenant: TenantId) -> bool:
        self._fail()
        held = tenant in self.held
        if held:
            self._write(tenant, None)
        if self.expected is not None:
            self.expected.discard(tenant)
        self._check()
        return held

    async def mark(self) -> None:
        self._fail()
        self._check()
        self.marks += 1

    def _write(self, tenant: TenantId, document: TenantDocument | None) -> None:
        self.writes.append((tenant, document is not None))
        self.written[tenant] = self.now
        if document is None:
            self.held.pop(tenant, None)
        else:
            self.held[tenant] = document

    def _check(self) -> None:
        if self.expected is None or self.expected - set(self.held):
            raise BusyError("RegistryIncomplete", "the registry waits")


@dataclass
class FakeSchemas(Failing):
    """Schema `argus` and the tenants' schemas."""

    tenants: dict[TenantId, TenantSchema] = field(default_factory=dict)
    pipelines: dict[str, PipelineTables] = field(default_factory=dict)
    retained: set[str] = field(default_factory=set)
    retained_tenants: set[TenantId] = field(default_factory=set)
    expired: list[str] = field(default_factory=list)
    positions: dict[TopicName, int] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    """By uid: fields of a pipeline's books that are not as those of one that is read and empty."""
    audits: dict[str, Audit] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    """Whose books were asked for, None for all."""
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)
    rows_to_expire: int = 0
    made: dict[str, int] = field(default_factory=dict)
    """By uid: the day on which a pipeline was made."""
    marks: dict[tuple[str, int], int] = field(default_factory=dict)
    """By uid and day: what the pipeline's log had taken when the day was first seen."""

    async def ensure_tenant(self, tenant: TenantSchema) -> None:
        self._fail()
        if tenant.tenant_id in self.retained_tenants:
            raise RefusedError("NameTaken", "retained")
        self.tenants[tenant.tenant_id] = tenant

    async def ensure_pipeline(self, tables: PipelineTables) -> None:
        self._fail()
        if tables.tenant.tenant_id not in self.tenants:
            raise BusyError("NotThereYet", "no such tenant")
        held = self.pipelines.get(tables.uid)
        if tables.uid in self.retained or (held and held.tenant != tables.tenant):
            raise RefusedError("NameTaken", "taken")
        logs = {tables.topic, tables.dead_letter_topic}
        for other in self.pipelines.values():
            if other.uid != tables.uid and logs & {other.topic, other.dead_letter_topic}:
                raise RefusedError("NameTaken", f"name other topics than {other.pipeline}'s")
        self.pipelines[tables.uid] = tables
        self.made.setdefault(tables.uid, self._today)

    async def observe_pipeline(self, uid: str) -> PipelineObserved:
        self._fail()
        tables = self.pipelines.get(uid)
        if tables is None:
            return PipelineObserved()
        suffix = f"_{uid[:8]}" if uid in self.retained else ""
        schema = tables.tenant.schema
        return PipelineObserved(
            schema=schema,
            events_table=names.table(tables.pipeline) + suffix,
            rollup_table=names.rollup_table(tables.pipeline) + suffix,
            ids_table=names.ids_table(tables.pipeline) + suffix,
            role=names.read_only_role(schema),
            chunk_interval=tables.chunk_interval,
            retention=tables.retention,
            dedupe_window=tables.dedupe_window,
            partitions=tables.partitions,
            retained=uid in self.retained,
        )

    async def sightings(self) -> dict[str, str | None]:
        self._fail()
        tenants = {
            str(id_): repr(tenant)
            for id_, tenant in self.tenants.items()
            if id_ not in self.retained_tenants
        }
        pipelines = {
            uid: repr(tables) for uid, tables in self.pipelines.items() if uid not in self.retained
        }
        return {**tenants, **pipelines}

    async def position(self, topic: TopicName) -> int:
        self._fail()
        return self.positions.get(topic, 0)

    async def books(self, uid: str | None = None) -> list[Books]:
        self._fail()
        self.asked.append(uid)
        return [
            self._books(tables)
            for tables in self.pipelines.values()
            if uid in (None, tables.uid) and tables.uid not in self.retained
        ]

    def _books(self, tables: PipelineTables) -> Books:
        new = Books(
            uid=tables.uid,
            namespace=tables.tenant.namespace,
            tenant=tables.tenant.name,
            pipeline=tables.pipeline,
            topic=tables.topic,
            at=self.now,
            state=State.OPEN,
            sampled_at=self.now,
        )
        return dataclasses.replace(new, **self.written.get(tables.uid, {}))

    async def audit(self, uid: str, timeout: float) -> Audit | None:
        self._fail()
        if uid not in self.pipelines:
            return None
        return self.audits.get(uid, Audit(self.now, True, "all is there"))

    async def retain_pipeline(self, uid: str) -> None:
        self._fail()
        if uid in self.pipelines:
            self.retained.add(uid)

    async def drop_pipeline(self, uid: str) -> None:
        self._fail()
        self.pipelines.pop(uid, None)
        self.retained.discard(uid)

    async def retain_tenant(self, tenant: TenantId) -> None:
        self._fail()
        if tenant in self.tenants:
            self.retained_tenants.add(tenant)
            self.retained |= {
                uid for uid, held in self.pipelines.items() if held.tenant.tenant_id == tenant
            }

    async def drop_tenant(self, tenant: TenantId) -> None:
        self._fail()
        theirs = {u for u, held in self.pipelines.items() if held.tenant.tenant_id == tenant}
        for uid in theirs - self.retained:
            del self.pipelines[uid]
        if theirs & self.retained:
            self.retained_tenants.add(tenant)
        else:
            self.tenants.pop(tenant, None)

    async def expire(self, uid: str) -> int:
        self._fail()
        self.expired.append(uid)
        return self.rows_to_expire

    async def mark_usage(self) -> None:
        self._fail()
        today = self._today
        for uid, tables in self.pipelines.items():
            if uid not in self.retained:
                new = self.made.get(uid) == today
                self.marks.setdefault((uid, today), 0 if new else self._accepted(tables))

    async def usage(self) -> dict[TenantId, Usage]:
        self._fail()
        month = quotas.month_of(to_micros(self.now))
        usage = {
            id_: Usage(self._today, 0, month, 0)
            for id_ in self.tenants
            if id_ not in self.retained_tenants
        }
        for tables in self.pipelines.values():
            id_ = tables.tenant.tenant_id
            if id_ in usage:
                daily, monthly = self._sent(tables)
                held = usage[id_]
                usage[id_] = held._replace(daily=held.daily + daily, monthly=held.monthly + monthly)
        return usage

    @property
    def _today(self) -> int:
        return quotas.day_of(to_micros(self.now))

    def _sent(self, tables: PipelineTables) -> tuple[int, int]:
        """What a pipeline took since its marks of today and of the first day of this month."""
        first = quotas.day_of(to_micros(self.now.replace(day=1)))
        marks = {day: n for (uid, day), n in self.marks.items() if uid == tables.uid}
        accepted = self._accepted(tables)
        of_month = [n for day, n in sorted(marks.items()) if day >= first]
        daily = accepted - marks[self._today] if self._today in marks else 0
        return daily, accepted - of_month[0] if of_month else 0

    def _accepted(self, tables: PipelineTables) -> int:
        books = self._books(tables)
        return books.records - books.skipped


@dataclass
class FakeUsage(Failing):
    """What ingest counts in Redis of tenants and keys."""

    usage: dict[TenantId, Usage] = field(default_factory=dict)
    used: dict[TenantId, dict[KeyHash, int]] = field(default_factory=dict)
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)
    raised: list[TenantId] = field(default_factory=list)
    """Whose usage was raised, in order."""

    async def read(self, limited: Sequence[TenantId], known: Sequence[TenantId]) -> Reading:
        self._fail()
        return Reading(
            to_micros(self.now),
            {tenant: self.usage[tenant] for tenant in limited if tenant in self.usage},
            {tenant: dict(self.used[tenant]) for tenant in known if tenant in self.used},
        )

    async def raise_to(self, floors: Mapping[TenantId, Usage]) -> None:
        self._fail()
        now = to_micros(self.now)
        for tenant, floor in floors.items():
            self.raised.append(tenant)
            held = self.usage.get(tenant, Usage.none(now))
            self.usage[tenant] = held.at(now).raised(floor)


@dataclass
class FakeCounters(Failing):
    """Counters that go with their owner."""

    usage: FakeUsage = field(default_factory=FakeUsage)
    dropped: list[tuple[TenantId, str, TopicName, int]] = field(default_factory=list)
    dropped_tenants: list[TenantId] = field(default_factory=list)

    async def drop(
        self, tenant: TenantId, pipeline: str, topic: TopicName, partitions: int
    ) -> None:
        self._fail()
        self.dropped.append((tenant, pipeline, topic, partitions))

    async def drop_tenant(self, tenant: TenantId) -> None:
        self._fail()
        self.dropped_tenants.append(tenant)
        self.usage.usage.pop(tenant, None)
        self.usage.used.pop(tenant, None)


@dataclass
class FakeLease(Failing):
    """The API server's Lease, with optimistic concurrency."""

    held: Record | None = None
    version: int = 0

    async def get(self) -> Record | None:
        self._fail()
        return self.held

    async def write(self, before: Record | None, holder: str, duration: float) -> Record:
        self._fail()
        if (before and before.version) != (self.held and self.held.version):
            raise BusyError("Changed", "the object has been modified")
        self.version += 1
        moved = 0 if before is None else before.transitions + (before.holder != holder)
        self.held = Record(holder, str(self.version), moved)
        return self.held
