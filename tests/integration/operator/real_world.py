"""The stage over a real API server, Kafka, Valkey and TimescaleDB, and the adapters themselves.

The operator runs in the test's process, under the rights that the chart gives it, and sees nothing
but the stage's own namespace: tests go on beside it in others.
"""

import asyncio
import base64
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import kopf
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from argus_contract import keys, names, redis_keys
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.quotas import Usage, day_of, month_of, parse, render
from argus_contract.registry import TenantDocument
from argus_operator.adapters.counters import Counters
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.adapters.postgres import Database
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.adapters.usage import RedisUsage
from argus_operator.errors import UnavailableError
from argus_operator.models.common import Raw
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.ports import Schemas, UsageStore
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.family import FamilyReconciler
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.pipelines import PipelineStep
from argus_operator.reconcile.removal import Removal
from argus_operator.reconcile.replays import ReplayReconciler
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.tenants import KeyStep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.resources import Family
from argus_operator.schemas import PipelineObserved
from argus_operator.settings import read_tiers
from argus_operator.tiers import TierBook
from argus_operator.topics import DiskBudget
from argus_runtime.registry import Replica
from redis.asyncio import Redis

from tests.integration.operator.apiserver import MERGE, OPERATOR, ApiServer
from tests.integration.operator.crash.tripwire import Engine, Tripwire
from tests.integration.operator.stage import TIERS, Stage, coroutines, resync
from tests.unit.operator.fakes import KINDS
from tests.unit.operator.world import SHOP

TIMEOUT_S = 20.0
SETTLE_S = 3.0
PASSWORD = "argus-test"
"""Of the shared server's roles, in all tests."""
_DOWN = OSError("the engine is down")


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the engines are, and connections to them that are not the operator's."""

    api: ApiServer
    kafka: str
    redis: str
    database: Mapping[str, Any]
    admin: KafkaAdmin
    sql: asyncpg.Pool
    counts: Redis


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground(
    api: ApiServer, kafka: str, redis_url: str, database: str
) -> AsyncIterator[Ground]:
    """Engines that are migrated and looked at from outside."""
    url = urlsplit(database)
    options: dict[str, Any] = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.path.removeprefix("/"),
    }
    migrated = Database(options, TIMEOUT_S)
    await migrated.open()
    await migrated.prepare(PASSWORD, PASSWORD)
    await migrated.close()
    admin, counts = (
        KafkaAdmin({"bootstrap_servers": kafka}, 1, TIMEOUT_S),
        Redis.from_url(redis_url),
    )
    async with asyncpg.create_pool(**options, min_size=0, max_size=4) as sql:
        yield Ground(api, kafka, redis_url, options, admin, sql, counts)
    await counts.aclose()
    await admin.close()


class Narrowed(Kubernetes):
    """The API server as far as one namespace goes."""

    def __init__(self, url: str, namespace: str) -> None:
        info = kopf.ConnectionInfo(server=url, insecure=True, token=OPERATOR)
        super().__init__(lambda: info, TIMEOUT_S)
        self._only = namespace

    async def objects(self, plural: str, namespace: str | None = None) -> list[Raw]:
        return await super().objects(plural, namespace or self._only)


class RealStage(Stage):
    """Real engines, and the operator over them."""

    def __init__(self, ground: Ground, stack: AsyncExitStack) -> None:
        self.ground = ground
        self.namespace = f"t{secrets.token_hex(4)}"
        self.wire = Tripwire()
        self.uids = []
        self.keys_before = {}
        self.kafka = ground.admin
        self._registry_topic = f"argus.registry.{self.namespace}"
        self._ahead = 0.0
        self._woken: list[Family] = []
        self._stack = stack
        self._directory = tempfile.TemporaryDirectory()
        self._tiers = Path(self._directory.name, "tiers.json")
        tiers = {name: tier.model_dump(mode="json", by_alias=True) for name, tier in TIERS.items()}
        self._tiers.write_text(json.dumps(tiers))

    async def open(self) -> None:
        """Makes the namespace and begins an operator."""
        await self._user("POST", "api/v1/namespaces", {"metadata": {"name": self.namespace}})
        await self._begin()

    async def close(self) -> None:
        """Ends the operator and removes its objects, which another would take up, and topics."""
        await self._stack.aclose()
        self._directory.cleanup()
        for plural in (PIPELINES, TENANTS):
            for raw in (await self._user("GET", self._path(plural)))["items"]:
                where = self._path(plural, raw["metadata"]["name"])
                await self._user("PATCH", where, {"metadata": {"finalizers": None}}, MERGE)
                if "deletionTimestamp" not in raw["metadata"]:
                    await self._user("DELETE", where)
        await self.kafka.delete([*await self.topics(), names.TopicName(self._registry_topic)])

    async def _begin(self) -> None:
        """An operator's process, as `main.connect` and `main.assemble` make one."""
        options = {"bootstrap_servers": self.ground.kafka}
        enter, later = self._stack.enter_async_context, self._stack.push_async_callback
        cluster = await enter(Narrowed(self.ground.api.url, self.namespace))
        kafka = KafkaAdmin(options, 1, TIMEOUT_S)
        later(kafka.close)
        spec = topic_spec(self._registry_topic, 1)
        registry = RegistryLog(options, spec, kafka, TIMEOUT_S, self._seconds)
        later(registry.close)
        database = Database(self.ground.database, TIMEOUT_S)
        await database.open()
        database.migrated = True
        later(database.close)
        client = Redis.from_url(self.ground.redis)
        later(client.aclose)
        usage = RedisUsage(client)
        self._guard(cluster, kafka, registry, database, client, usage)
        self._assemble(cluster, kafka, registry, database, Counters(client), usage)

    def _guard(
        self,
        cluster: Kubernetes,
        kafka: KafkaAdmin,
        registry: RegistryLog,
        database: Database,
        client: Redis,
        usage: RedisUsage,
    ) -> None:
        guard = self.wire.guard
        guard(cluster, ["_send"], Engine.KUBERNETES, _DOWN)
        away = UnavailableError("KafkaUnavailable", "Kafka: the engine is down")
        guard(kafka, ["matching", "observe", "backlog", "delete"], Engine.KAFKA, away)
        guard(kafka, ["_apply"], Engine.KAFKA, _DOWN)
        guard(registry, ["_write", "_catch_up"], Engine.KAFKA, _DOWN)
        gone = UnavailableError("DatabaseUnavailable", "PostgreSQL: the engine is down")
        guard(database, coroutines(Schemas), Engine.POSTGRES, gone)
        guard(client, ["execute_command"], Engine.REDIS, _DOWN)
        mute = UnavailableError("RedisUnavailable", "Redis: the engine is down")
        guard(usage, coroutines(UsageStore), Engine.REDIS, mute)

    def _assemble(
        self,
        cluster: Kubernetes,
        kafka: KafkaAdmin,
        registry: RegistryLog,
        database: Database,
        counters: Counters,
        store: RedisUsage,
    ) -> None:
        keeper, budget = Bookkeeper(database), DiskBudget(None, 1.0, 1)
        health = Health(keeper)
        tiers = TierBook(lambda: read_tiers(self._tiers), self._tiers)
        usage = UsageBook(store, database)
        reconciler = FamilyReconciler(
            cluster,
            registry,
            database,
            KeyStep(cluster, registry, self._now),
            PipelineStep(kafka, database, health, budget, 1),
            health,
            Removal(cluster, kafka, database, counters, budget),
            StatusWriter(cluster, self._now),
            tiers,
            usage,
            SETTLE_S,
        )
        replays = ReplayReconciler(cluster, None, None, StatusWriter(cluster, self._now))
        self._resync, self._sweep = resync(
            cluster,
            registry,
            kafka,
            database,
            keeper,
            replays,
            self._woken.append,
            reconciler.reconcile,
            tiers,
            usage,
        )

    def _seconds(self) -> float:
        return time.time() + self._ahead

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    # A user

    async def _user(
        self, method: str, path: str, body: Any = None, type_: str = "application/json"
    ) -> Any:
        return await self.ground.api.call(method, path, body, type_)

    def _path(self, plural: str, name: str = "") -> str:
        return f"apis/argus.dev/v1alpha1/namespaces/{self.namespace}/{plural}/{name}".rstrip("/")

    @property
    def _secret(self) -> str:
        return f"api/v1/namespaces/{self.namespace}/secrets/{names.key_secret(SHOP)}"

    async def apply(self, plural: str, name: str, spec: Mapping[str, Any]) -> None:
        found = await self.object(plural, name)
        if found is not None:
            body = {**found, "spec": spec}
            self.note(plural, await self._user("PUT", self._path(plural, name), body))
            return
        body = {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": KINDS[plural],
            "metadata": {"name": name},
            "spec": spec,
        }
        self.note(plural, await self._user("POST", self._path(plural), body))

    async def annotate(self, plural: str, name: str, **annotations: str | None) -> None:
        named = {f"argus.dev/{key}": value for key, value in annotations.items()}
        body = {"metadata": {"annotations": named}}
        await self._user("PATCH", self._path(plural, name), body, MERGE)

    async def delete(self, plural: str, name: str) -> None:
        await self._user("DELETE", self._path(plural, name))

    async def write_secret(self, data: Mapping[str, str] | None) -> None:
        if data is None:
            await self._user("DELETE", self._secret)
            return
        held = await self.secret() or {}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        body = {"data": dict.fromkeys(held) | encoded}
        await self._user("PATCH", self._secret, body, MERGE)

    async def collect(self) -> None:
        if await self.object(TENANTS, SHOP) is None and await self.secret() is not None:
            await self.write_secret(None)

    async def count(self, pipeline: str) -> None:
        tenant, topic = await self.id(), await self.topic(pipeline)
        live = redis_keys.live(tenant, pipeline, round(time.time()))
        await self.ground.counts.hset(live, "click", "1")
        await self.ground.counts.expire(live, 600)
        await self.ground.counts.set(redis_keys.fence(tenant, topic, 0), "7", ex=600)

    async def define_tiers(self, tiers: Mapping[str, Mapping[str, Any]]) -> None:
        self._tiers.write_text(json.dumps(tiers))

    async def send(self, pipeline: str, sent: int, counted: int) -> None:
        topic, now = await self.topic(pipeline), time.time_ns() // 1_000
        await self.ground.sql.execute("SELECT argus.open_partition($1, 0, 0)", topic)
        await self.ground.sql.execute(
            "SELECT argus.sample($1, '{0}', $2, '{NULL}')", [topic], [sent]
        )
        usage = Usage(day_of(now), counted, month_of(now), counted)
        await self.ground.counts.set(redis_keys.usage(await self.id()), render(usage), ex=600)

    async def lose_usage(self) -> None:
        await self.ground.counts.delete(redis_keys.usage(await self.id()))

    async def use_key(self, name: str, moment: datetime) -> None:
        held = redis_keys.used(await self.id())
        minute = int(moment.timestamp()) // 60
        hash_ = keys.hash_key((await self.secret() or {})[name])
        await self.ground.counts.hset(held, hash_, str(minute))
        await self.ground.counts.expire(held, 600)

    async def lose_table(self, uid: str) -> None:
        found = await self.tables(uid)
        await self.ground.sql.execute(f"DROP TABLE {found.schema}.{found.rollup_table}")

    async def lose_document(self, tenant: TenantId) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.ground.kafka) as producer:
            await producer.send_and_wait(self._registry_topic, key=tenant.encode(), partition=0)

    async def tick(self) -> None:
        await asyncio.sleep(1.1)  # creationTimestamp counts in seconds

    # Looked at

    async def object(self, plural: str, name: str) -> Raw | None:
        found: Raw | None = await self.ground.api.found(self._path(plural, name))
        return found

    async def secret(self) -> Mapping[str, str] | None:
        found = await self.ground.api.found(self._secret)
        if found is None:
            return None
        held = found.get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in held.items()}

    async def events(self, name: str) -> list[str]:
        path = f"apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        listed = (await self._user("GET", path))["items"]
        mine = [item for item in listed if item["regarding"]["name"] == name]
        return [item["reason"] for item in sorted(mine, key=lambda item: str(item["eventTime"]))]

    async def documents(self) -> tuple[Mapping[TenantId, TenantDocument], bool]:
        replica, partition = Replica(), TopicPartition(self._registry_topic, 0)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.ground.kafka, auto_offset_reset="earliest"
        ) as consumer:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for record in (await consumer.getmany(partition, timeout_ms=200)).get(
                    partition, ()
                ):
                    replica.apply(record.key, record.value)
        return replica.documents, replica.complete

    async def tables(self, uid: str) -> PipelineObserved:
        row = await self.ground.sql.fetchrow("SELECT * FROM argus.observe_pipeline($1)", uid)
        assert row is not None
        return PipelineObserved(
            schema=row["schema_name"],
            role=row["role_name"],
            retained=bool(row["retained"]),
            **{
                name: row[name]
                for name in (
                    "events_table",
                    "rollup_table",
                    "ids_table",
                    "chunk_interval",
                    "retention",
                    "dedupe_window",
                    "partitions",
                )
            },
        )

    async def tenants(self) -> Mapping[str, bool]:
        statement = "SELECT tenant_id, retained_at FROM argus.tenants WHERE namespace = $1"
        rows = await self.ground.sql.fetch(statement, self.namespace)
        return {row["tenant_id"]: row["retained_at"] is not None for row in rows}

    async def counters(self) -> Sequence[str]:
        found = await self.ground.counts.keys(f"{{{self.namespace}.*")
        kinds = [str(key).split("}:")[1].split(":") for key in found]
        return sorted({parts[1] for parts in kinds if parts[0] == "live"})

    async def usage(self, tenant: TenantId) -> Usage | None:
        text = await self.ground.counts.get(redis_keys.usage(tenant))
        return parse(text) if isinstance(text, bytes) else None

    async def used(self, tenant: TenantId) -> Mapping[KeyHash, int]:
        found = await self.ground.counts.hgetall(redis_keys.used(tenant))
        return {
            KeyHash(hash_.decode()): int(minute)
            for hash_, minute in found.items()
            if isinstance(hash_, bytes)
        }

    # The operator

    async def pass_time(self, seconds: float) -> None:
        self._ahead += seconds

    async def restart(self) -> None:
        self.wire.rest()
        await self._stack.aclose()
        await self._begin()


@asynccontextmanager
async def real_stage(ground: Ground) -> AsyncIterator[RealStage]:
    """A stage of its own, removed at the end."""
    async with AsyncExitStack() as stack:
        stage = RealStage(ground, stack)
        await stage.open()
        try:
            yield stage
        finally:
            stage.wire.rest()
            await stage.close()
