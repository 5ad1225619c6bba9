"""What the logic asks of its adapters: the seams at which unit tests put fakes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from argus_contract.names import TenantId, TopicName
from argus_contract.quotas import Usage
from argus_contract.registry import TenantDocument

from argus_operator.documents import Documents
from argus_operator.jobs import Run, Word
from argus_operator.keys import SecretState
from argus_operator.ledger import Audit, Books
from argus_operator.models.common import Meta, Raw
from argus_operator.schemas import PipelineObserved, PipelineTables, TenantSchema
from argus_operator.topics import Action, Backlog, TopicState
from argus_operator.usage import Reading


class Cluster(Protocol):
    """The Kubernetes API; see adapters.kubernetes for what each call promises."""

    async def objects(self, plural: str, namespace: str | None = None) -> list[Raw]: ...

    async def get(self, plural: str, namespace: str, name: str) -> Raw | None: ...

    async def patch_status(self, plural: str, meta: Meta, status: Mapping[str, Any]) -> None: ...

    async def set_finalizer(self, plural: str, meta: Meta, present: bool) -> None: ...

    async def annotate(
        self, plural: str, meta: Meta, annotations: Mapping[str, str | None]
    ) -> Meta: ...

    async def get_secret(self, namespace: str, name: str) -> SecretState | None: ...

    async def write_secret(
        self,
        owner: Raw,
        name: str,
        observed: SecretState | None,
        data: Mapping[str, str],
        notes: Mapping[str, str],
    ) -> None: ...

    async def post_event(self, subject: Raw, type_: str, reason: str, note: str) -> None: ...


class Jobs(Protocol):
    """Jobs of replays, in the operator's own namespace; see adapters.jobs."""

    async def runs(self) -> list[Run]: ...

    async def create(self, manifest: Mapping[str, Any]) -> None: ...

    async def delete(self, run: Run) -> None: ...

    async def word(self, run: Run) -> Word: ...


class Topics(Protocol):
    """Kafka's administration; see adapters.kafka."""

    async def matching(
        self, prefix: str, others: Collection[TopicName] = ()
    ) -> dict[TopicName, TopicState]: ...

    async def observe(self, topics: Iterable[TopicName]) -> dict[TopicName, TopicState]: ...

    async def backlog(self, topic: TopicName, partitions: int, retention_ms: int) -> Backlog: ...

    async def apply(self, actions: Sequence[Action]) -> None: ...

    async def delete(self, topics: Sequence[TopicName]) -> None: ...


class Registry(Protocol):
    """The registry's writer; see adapters.registry."""

    @property
    def documents(self) -> Documents: ...

    def settled(self, tenant: TenantId, seconds: float) -> bool: ...

    def expect(self, tenants: Iterable[TenantId]) -> None: ...

    async def load(self) -> None: ...

    async def publish(self, document: TenantDocument) -> bool: ...

    async def retire(self, tenant: TenantId) -> bool: ...

    async def mark(self) -> None: ...


class Schemas(Protocol):
    """PostgreSQL; see adapters.postgres."""

    async def ensure_tenant(self, tenant: TenantSchema) -> None: ...

    async def ensure_pipeline(self, tables: PipelineTables) -> None: ...

    async def observe_pipeline(self, uid: str) -> PipelineObserved: ...

    async def sightings(self) -> Mapping[str, str | None]: ...

    async def position(self, topic: TopicName) -> int: ...

    async def books(self, uid: str | None = None) -> list[Books]: ...

    async def audit(self, uid: str, timeout: float) -> Audit | None: ...

    async def retain_pipeline(self, uid: str) -> None: ...

    async def drop_pipeline(self, uid: str) -> None: ...

    async def retain_tenant(self, tenant: TenantId) -> None: ...

    async def drop_tenant(self, tenant: TenantId) -> None: ...

    async def expire(self, uid: str) -> int: ...

    async def mark_usage(self) -> None: ...

    async def usage(self) -> dict[TenantId, Usage]: ...


class CounterStore(Protocol):
    """Counters that go with their owner; see adapters.counters."""

    async def drop(
        self, tenant: TenantId, pipeline: str, topic: TopicName, partitions: int
    ) -> None: ...

    async def drop_tenant(self, tenant: TenantId) -> None: ...


class UsageStore(Protocol):
    """What ingest counts of tenants and keys; see adapters.usage."""

    async def read(self, limited: Sequence[TenantId], known: Sequence[TenantId]) -> Reading: ...

    async def raise_to(self, floors: Mapping[TenantId, Usage]) -> None: ...
