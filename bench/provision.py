"""Tenants and pipelines for the bench, made by the operator's own code.

Migrations, topics, schemas and registry are the operator's; only Kubernetes is missing: specs are
made here instead of being read from resources.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.names import REGISTRY_TOPIC, TenantId, TopicName
from argus_contract.registry import Bucket, Key, Limits, Pipeline, TenantDocument
from argus_operator import documents, schemas, topics
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.postgres import Database
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.errors import UnavailableError
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec, TenantRef, Topic, TopicRetention
from argus_runtime import database as runtime_database
from argus_runtime import kafka as runtime_kafka

from bench.connections import Connections

NAMESPACE: Final = "bench"

_APPLICATION: Final = "argus-bench"
_TIMEOUT: Final = 60.0
_PLENTY: Final = Bucket(rate=1_000_000.0, burst=10_000_000.0)
"""A tier above every load: each request is judged and none refused."""
_REPLICAS: Final = 1
_SECOND_PIPELINE: Final = ("api_latency", "click")
"""Half of the events of bench.events."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant and a public key of its own, so that both of the limiter's buckets are asked."""

    document: TenantDocument
    key: str

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        """Its pipelines."""
        return self.document.pipelines


class Platform:
    """What the operator talks to, and the tenants made so far."""

    def __init__(self, kafka: KafkaAdmin, registry: RegistryLog, database: Database) -> None:
        self._kafka = kafka
        self._registry = registry
        self._database = database
        self._known: set[TenantId] = set()

    async def add_tenant(self, name: str, pipelines: int = 1, partitions: int = 1) -> Tenant:
        """A tenant with one or two pipelines, known to every process of the data path soon."""
        schema = schemas.tenant_schema(new_meta(name))
        await self._database.ensure_tenant(schema)
        made = [
            await self._add_pipeline(schema, f"{name}-{number}", number, partitions)
            for number in range(pipelines)
        ]
        key = generate(KeyKind.PUBLIC)
        keys = [Key(hash_key(key), "default", KeyKind.PUBLIC)]
        limits = Limits(per_key=_PLENTY, per_ip=_PLENTY)
        document = documents.document(schema, limits, keys, False, made)
        self._known.add(document.id)
        self._registry.expect(self._known)
        await self._registry.publish(document)
        return Tenant(document, key)

    async def _add_pipeline(
        self, schema: schemas.TenantSchema, name: str, number: int, partitions: int
    ) -> Pipeline:
        spec = PipelineSpec(
            tenant_ref=TenantRef(name=schema.name),
            match=_SECOND_PIPELINE if number else (),
            topic=Topic(partitions=partitions, retention=TopicRetention(bytes="2Gi")),
        )
        meta = new_meta(name)
        wanted = topics.event_topic(meta, spec, 0, _REPLICAS)
        letters = topics.dead_letter_topic(meta, spec, 0, _REPLICAS)
        await self._kafka.apply([*topics.plan(wanted, None), *topics.plan(letters, None)])
        tables = schemas.pipeline_tables(schema, meta, spec, partitions)
        await self._database.ensure_pipeline(tables)
        observed = await self._kafka.observe([wanted.name])
        return documents.entry(schema, meta, spec, observed[wanted.name])


@asynccontextmanager
async def platform(where: Connections) -> AsyncIterator[Platform]:
    """A migrated database and an empty registry; disconnected at the end."""
    options = runtime_kafka.options(where.kafka, _APPLICATION)
    kafka = KafkaAdmin(options, _REPLICAS, _TIMEOUT)
    registry = RegistryLog(options, topic_spec(REGISTRY_TOPIC, _REPLICAS), kafka, _TIMEOUT)
    connection = runtime_database.connect_options(where.database, _APPLICATION)
    database = Database(connection, _TIMEOUT)
    await database.open()
    try:
        passwords = where.stream_password, where.reader_password
        await available(lambda: database.prepare(*passwords))
        await available(lambda: kafka.observe([TopicName(REGISTRY_TOPIC)]))
        yield Platform(kafka, registry, database)
    finally:
        await registry.close()
        await kafka.close()
        await database.close()


async def available(call: Callable[[], Awaitable[object]]) -> None:
    """Calls until the engine behind it, which has just been started, is there."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            await call()
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


def new_meta(name: str) -> Meta:
    """A resource of that name, as if it had just been created."""
    uid = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
    return Meta(name=name, namespace=NAMESPACE, uid=uid, creation_timestamp=datetime.now(UTC))
