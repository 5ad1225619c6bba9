"""What the logic relies on of its adapters: held by the unit tests' fakes and the real ones."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from argus_contract import names, redis_keys
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Bucket, Limits, TenantDocument
from argus_operator import schemas
from argus_operator.adapters.counters import Counters
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.adapters.postgres import Database
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.errors import BusyError, RefusedError, UnavailableError
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.ports import Cluster, Registry, Schemas, Topics
from argus_operator.resources import Tenant
from argus_operator.topics import Backlog, Configure, Create, Grow, TopicSpec, plan
from redis.asyncio import Redis

from tests.integration.operator.apiserver import ADMIN, MERGE, OPERATOR, ApiServer
from tests.unit.operator.fakes import (
    NAMESPACE,
    FakeCluster,
    FakeRegistry,
    FakeSchemas,
    FakeTopics,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

BOTH = pytest.mark.parametrize("kind", ["fake", "real"])
NOW = datetime.now(UTC)
PASSWORD = "argus-test"
"""Of the shared server's roles, in all tests."""


def unused(prefix: str = "argus.") -> TopicName:
    """A topic that nobody has."""
    return TopicName(f"{prefix}contract.{secrets.token_hex(6)}")


def spec(
    name: TopicName, partitions: int = 1, configs: Mapping[str, str] | None = None
) -> TopicSpec:
    return TopicSpec(name, partitions, {"retention.ms": "3600000", **(configs or {})})


class TestTopics:
    @pytest_asyncio.fixture(loop_scope="session")
    async def topics(self, kind: str, kafka: str) -> AsyncIterator[Topics]:
        real = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
        yield FakeTopics() if kind == "fake" else real
        await real.close()

    @BOTH
    async def test_what_was_planned_and_applied_is_observed(self, topics: Topics) -> None:
        name = unused()
        wanted = spec(name, 2)
        assert await topics.observe([name]) == {}

        await topics.apply([Create(wanted)])
        observed = (await topics.observe([name]))[name]
        assert plan(wanted, observed) == []
        assert name in await topics.matching("argus.contract.")

    @BOTH
    async def test_creating_what_exists_changes_nothing(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])
        await topics.apply([Create(spec(name, 5))])

        assert (await topics.observe([name]))[name].partitions == 2

    @BOTH
    async def test_growth_and_configuration(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name))])
        wanted = spec(name, 3, {"retention.bytes": "33554432", "segment.bytes": "8388608"})
        await topics.apply([Grow(name, 3), Configure(name, wanted.configs)])

        state = (await topics.observe([name]))[name]
        assert plan(wanted, state) == []
        assert state.retention_bytes == 3 * 33_554_432

    @BOTH
    async def test_a_topic_never_shrinks(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])

        with pytest.raises(UnavailableError):
            await topics.apply([Grow(name, 1)])

    @BOTH
    async def test_deleting_twice_is_fine(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name))])
        await topics.delete([name])
        await topics.delete([name])

        assert await topics.observe([name]) == {}

    @BOTH
    async def test_an_empty_topic_has_no_backlog(self, topics: Topics) -> None:
        name = unused()
        await topics.apply([Create(spec(name, 2))])

        assert await topics.backlog(name, 2, 3_600_000) == Backlog(0.0, False)


async def test_the_backlog_is_what_the_stream_has_not_committed(kafka: str) -> None:
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    name = unused()
    await admin.apply([Create(spec(name, 2))])
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for _ in range(4):
            await producer.send_and_wait(name, b"event", partition=1)
    assert await admin.backlog(name, 2, 3_600_000) == Backlog(1.0, False)
    assert await admin.backlog(name, 2, -60_000) == Backlog(1.0, True)

    partition = TopicPartition(name, 1)
    stream = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=names.STREAM_GROUP, enable_auto_commit=False
    )
    async with stream:
        stream.assign([partition])
        await stream.commit({partition: 3})
        assert await admin.backlog(name, 2, 3_600_000) == Backlog(0.25, False)
        await stream.commit({partition: 4})
        assert await admin.backlog(name, 2, -60_000) == Backlog(0.0, False)
    await admin.close()


async def test_a_refused_configuration_is_an_error_that_names_the_topic(kafka: str) -> None:
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    name = unused()
    await admin.apply([Create(spec(name))])
    with pytest.raises(UnavailableError, match=name):
        await admin.apply([Configure(name, {"retention.ms": "soon"})])
    with pytest.raises(UnavailableError):
        await admin.apply([Create(spec(unused(), 1, {"no.such.setting": "1"}))])
    await admin.close()


async def test_a_broker_that_is_away_is_unavailable_in_bounded_time() -> None:
    admin = KafkaAdmin({"bootstrap_servers": "127.0.0.1:1"}, 1, 2)
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError, match="Kafka"):
            await admin.observe([unused()])
    await admin.close()


def document(id_: TenantId, **fields: Any) -> TenantDocument:
    limits = Limits(Bucket(1, 2), Bucket(3, 4))
    return TenantDocument(id=id_, namespace="n", name="t", revision=0, limits=limits, **fields)


def some_tenant() -> TenantId:
    return names.tenant_id("n", "t", secrets.token_hex(8))


class TestRegistry:
    @pytest_asyncio.fixture(loop_scope="session")
    async def registry(self, kind: str, kafka: str) -> AsyncIterator[Registry]:
        async with registry_log(kafka, f"argus.registry.{secrets.token_hex(6)}") as real:
            made: Registry = FakeRegistry() if kind == "fake" else real
            made.expect([])
            await made.load()
            yield made

    @BOTH
    async def test_only_news_is_written(self, registry: Registry) -> None:
        id_ = some_tenant()

        assert await registry.publish(document(id_))
        first = registry.documents[id_].revision
        assert not await registry.publish(document(id_))
        assert registry.documents[id_].revision == first
        assert await registry.publish(document(id_, suspended=True))
        assert registry.documents[id_].revision > first

    @BOTH
    async def test_a_retired_tenant_is_gone_and_twice_is_fine(self, registry: Registry) -> None:
        id_ = some_tenant()
        await registry.publish(document(id_))

        assert await registry.retire(id_)
        assert id_ not in registry.documents
        assert not await registry.retire(id_)

    @BOTH
    async def test_the_marker_waits_for_who_is_expected(self, registry: Registry) -> None:
        missing, here = some_tenant(), some_tenant()
        registry.expect([missing])
        with pytest.raises(BusyError):
            await registry.mark()
        with pytest.raises(BusyError):
            await registry.publish(document(here))
        assert here in registry.documents

        await registry.publish(document(missing))
        await registry.mark()

    @BOTH
    async def test_who_is_retired_is_not_waited_for(self, registry: Registry) -> None:
        missing = some_tenant()
        registry.expect([missing])
        await registry.retire(missing)
        await registry.mark()

    @BOTH
    async def test_a_write_settles_with_time(self, registry: Registry) -> None:
        id_ = some_tenant()
        assert registry.settled(id_, 60)
        await registry.publish(document(id_))
        assert not registry.settled(id_, 60)
        assert registry.settled(id_, 0)


@asynccontextmanager
async def registry_log(
    kafka: str, topic: str, clock: Callable[[], float] = time.time, timeout: float = 20
) -> AsyncIterator[RegistryLog]:
    options = {"bootstrap_servers": kafka}
    admin = KafkaAdmin(options, 1, 20)
    log = RegistryLog(options, topic_spec(topic, 1), admin, timeout, clock)
    try:
        yield log
    finally:
        await log.close()
        await admin.close()


async def test_a_new_writer_knows_what_the_old_one_wrote_and_counts_on(kafka: str) -> None:
    topic = f"argus.registry.{secrets.token_hex(6)}"
    id_ = some_tenant()
    async with registry_log(kafka, topic, clock=lambda: 4_000_000_000.0) as first:
        first.expect([])
        await first.publish(document(id_))
        written = first.documents[id_].revision
    async with registry_log(kafka, topic) as second:
        second.expect([id_])
        assert not await second.publish(document(id_))
        assert await second.publish(document(id_, suspended=True))
        assert second.documents[id_].revision > written


async def test_before_the_first_list_no_marker_is_written(kafka: str) -> None:
    async with registry_log(kafka, f"argus.registry.{secrets.token_hex(6)}") as log:
        with pytest.raises(BusyError, match="first list"):
            await log.publish(document(some_tenant()))


async def test_a_registry_whose_topic_was_deleted_is_made_anew(kafka: str) -> None:
    topic = f"argus.registry.{secrets.token_hex(6)}"
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    async with registry_log(kafka, topic, timeout=5) as log:
        log.expect([])
        id_ = some_tenant()
        await log.publish(document(id_))
        await admin.delete([TopicName(topic)])
        log.expect([id_])

        async def written_again() -> bool:
            return await log.publish(document(id_))

        with pytest.raises(UnavailableError):
            await log.mark()
        await retried(written_again)
        assert (await admin.observe([TopicName(topic)]))[TopicName(topic)].partitions == 1
    await admin.close()


async def retried(work: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await work():
                    return
            except (UnavailableError, BusyError):
                await asyncio.sleep(0.2)


def tenant_meta() -> Meta:
    uid = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}"
    return Meta(name="shop", namespace="n", uid=uid, creation_timestamp=NOW)


def tables(tenant: schemas.TenantSchema, uid: str | None = None) -> schemas.PipelineTables:
    meta = Meta(
        name="web-app",
        namespace="n",
        uid=uid or f"{secrets.token_hex(4)}-{secrets.token_hex(2)}",
        creation_timestamp=NOW,
    )
    asked = PipelineSpec.model_validate({"tenantRef": {"name": "shop"}})
    return schemas.pipeline_tables(tenant, meta, asked, 2)


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[Database]:
    """The adapter over a migrated database."""
    url = urlsplit(database)
    options = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.path.removeprefix("/"),
    }
    made = Database(options, 20)
    await made.open()
    try:
        await made.prepare(PASSWORD, PASSWORD)
        yield made
    finally:
        await made.close()


class TestSchemas:
    @pytest_asyncio.fixture(loop_scope="session")
    async def database_port(self, kind: str, database: str) -> AsyncIterator[Schemas]:
        async with opened(database) as real:
            yield FakeSchemas() if kind == "fake" else real

    @BOTH
    async def test_what_was_ensured_is_in_step(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        wanted = tables(tenant)
        assert not schemas.in_step(wanted, await database_port.observe_pipeline(wanted.uid))
        for _ in range(2):
            await database_port.ensure_tenant(tenant)
            await database_port.ensure_pipeline(wanted)

        observed = await database_port.observe_pipeline(wanted.uid)
        assert schemas.in_step(wanted, observed)
        assert observed.events_table == wanted.table
        schemas.check_owner(wanted, observed, None)

    @BOTH
    async def test_a_pipeline_needs_its_tenant(self, database_port: Schemas) -> None:
        with pytest.raises(BusyError):
            await database_port.ensure_pipeline(tables(schemas.tenant_schema(tenant_meta())))

    @BOTH
    async def test_what_was_retained_is_nobodys_again(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        wanted = tables(tenant)
        await database_port.ensure_tenant(tenant)
        await database_port.ensure_pipeline(wanted)
        for _ in range(2):
            await database_port.retain_pipeline(wanted.uid)

        observed = await database_port.observe_pipeline(wanted.uid)
        assert observed.retained
        assert observed.events_table == f"{wanted.table}_{wanted.uid[:8]}"
        with pytest.raises(RefusedError):
            await database_port.ensure_pipeline(wanted)

    @BOTH
    async def test_a_retained_tenant_retains_its_pipelines(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        wanted = tables(tenant)
        await database_port.ensure_tenant(tenant)
        await database_port.ensure_pipeline(wanted)
        await database_port.retain_tenant(tenant.tenant_id)

        assert (await database_port.observe_pipeline(wanted.uid)).retained
        with pytest.raises(RefusedError):
            await database_port.ensure_tenant(tenant)

    @BOTH
    async def test_dropping_a_tenant_spares_what_was_retained(self, database_port: Schemas) -> None:
        tenant = schemas.tenant_schema(tenant_meta())
        kept, dropped = tables(tenant), tables(tenant)
        await database_port.ensure_tenant(tenant)
        await database_port.ensure_pipeline(kept)
        await database_port.retain_pipeline(kept.uid)
        await database_port.ensure_pipeline(dropped)
        await database_port.drop_tenant(tenant.tenant_id)

        assert (await database_port.observe_pipeline(kept.uid)).events_table is not None
        assert (await database_port.observe_pipeline(dropped.uid)).events_table is None

    @BOTH
    async def test_dropping_what_is_absent_is_fine(self, database_port: Schemas) -> None:
        await database_port.drop_pipeline("0" * 36)
        await database_port.retain_pipeline("0" * 36)
        await database_port.drop_tenant(some_tenant())
        await database_port.retain_tenant(some_tenant())

    @BOTH
    async def test_of_a_new_topic_nothing_was_read(self, database_port: Schemas) -> None:
        assert await database_port.standing(unused()) == schemas.Standing()


async def test_the_ledger_tells_up_to_where_a_topic_was_read_and_what_was_lost(
    database: str,
) -> None:
    tenant = schemas.tenant_schema(tenant_meta())
    wanted = tables(tenant)
    connection = await asyncpg.connect(database)
    async with opened(database) as made:
        await made.ensure_tenant(tenant)
        await made.ensure_pipeline(wanted)
        for partition, offset in enumerate((3, 7)):
            await connection.execute(
                "SELECT argus.open_partition($1, $2, $3)", wanted.topic, partition, offset
            )

        assert await made.standing(wanted.topic) == schemas.Standing(offset=7, lost=0)
        await connection.execute("SELECT argus.open_partition($1, 0, 5)", wanted.topic)
        assert await made.standing(wanted.topic) == schemas.Standing(offset=7, lost=2)
    await connection.close()


async def test_a_database_that_is_not_migrated_is_unavailable_and_says_why(database: str) -> None:
    made = Database({"host": "127.0.0.1", "port": 1, "user": "x", "timeout": 2}, 2)
    await made.open()
    with pytest.raises(UnavailableError, match="have not run"):
        await made.observe_pipeline("x")
    with pytest.raises(UnavailableError):
        await made.prepare("a", "b")
    with pytest.raises(UnavailableError, match="not migrated yet"):
        await made.observe_pipeline("x")
    await made.close()


async def test_a_database_that_was_made_anew_is_found_out_and_migrated_again(
    database: str,
) -> None:
    name = f"it_anew_{secrets.token_hex(4)}"
    server = await asyncpg.connect(database)
    await server.execute(f"CREATE DATABASE {name}")
    async with opened(urlsplit(database)._replace(path=f"/{name}").geturl()) as made:
        await made.observe_pipeline("x")
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {name}")
        while made.migrated:
            with pytest.raises(UnavailableError):
                await made.observe_pipeline("x")
        assert "again" in made.problem

        await made.prepare(PASSWORD, PASSWORD)
        assert await made.observe_pipeline("x") == schemas.PipelineObserved()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


async def test_counters_of_one_pipeline_are_dropped_and_no_others(redis_url: str) -> None:
    client = Redis.from_url(redis_url)
    tenant, other = some_tenant(), some_tenant()
    topic = unused()
    now = round(datetime.now(UTC).timestamp())
    doomed = [
        redis_keys.live(tenant, "web", now),
        redis_keys.live(tenant, "web", now - 3_500),
        redis_keys.fence(tenant, topic, 0),
        redis_keys.fence(tenant, topic, 1),
    ]
    kept = [
        redis_keys.live(tenant, "api", now),
        redis_keys.live(other, "web", now),
        redis_keys.fence(tenant, unused(), 0),
    ]
    for key in (*doomed, *kept):
        await client.set(key, "1", ex=60)

    await Counters(client).drop(tenant, "web", topic, 2)

    assert await client.exists(*doomed) == 0
    assert await client.exists(*kept) == len(kept)
    await client.aclose()


async def test_a_redis_that_is_away_is_unavailable() -> None:
    client = Redis(host="127.0.0.1", port=1)
    with pytest.raises(UnavailableError, match="Redis"):
        await Counters(client).drop(some_tenant(), "web", unused(), 1)
    await client.aclose()


class Stage:
    """A cluster, and how a user acts on it."""

    def __init__(self, cluster: Cluster, api: ApiServer | None) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = NAMESPACE if api is None else f"t{secrets.token_hex(4)}"
        self.name = f"shop-{secrets.token_hex(3)}"

    @property
    def path(self) -> str:
        return f"apis/argus.dev/v1alpha1/namespaces/{self.namespace}/{TENANTS}"

    async def create(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.apply(TENANTS, self.name, {})
            return
        body = {"metadata": {"name": self.namespace}}
        await self.api.call("POST", "api/v1/namespaces", body)
        tenant = {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": "ArgusTenant",
            "metadata": {"name": self.name},
            "spec": {},
        }
        await self.api.call("POST", self.path, tenant)

    async def change(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.apply(TENANTS, self.name, {"suspended": True})
            return
        body = {"spec": {"suspended": True}}
        await self.api.call("PATCH", f"{self.path}/{self.name}", body, MERGE)

    async def delete(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.delete(TENANTS, self.name)
            return
        await self.api.call("DELETE", f"{self.path}/{self.name}")

    async def tenant(self) -> Tenant | None:
        raw = await self.cluster.get(TENANTS, self.namespace, self.name)
        return None if raw is None else Tenant.parse(raw)

    async def present(self) -> Tenant:
        found = await self.tenant()
        assert found is not None
        return found


class TestCluster:
    @pytest_asyncio.fixture(loop_scope="session")
    async def stage(
        self, kind: str, api: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Stage]:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
        async with Kubernetes() as real:
            made = Stage(FakeCluster(), None) if kind == "fake" else Stage(real, api)
            await made.create()
            yield made

    @BOTH
    async def test_defaults_are_filled_in(self, stage: Stage) -> None:
        found = await stage.present()

        assert found.spec is not None
        assert found.spec.api_keys[0].name == "default"
        assert found.meta.generation == 1

    @BOTH
    async def test_an_object_is_listed(self, stage: Stage) -> None:
        for namespace in (stage.namespace, None):
            listed = await stage.cluster.objects(TENANTS, namespace)
            assert stage.name in [raw["metadata"]["name"] for raw in listed]

    @BOTH
    async def test_what_is_absent_is_none(self, stage: Stage) -> None:
        assert await stage.cluster.get(TENANTS, stage.namespace, "nobody") is None
        assert await stage.cluster.get_secret(stage.namespace, "nothing") is None

    @BOTH
    async def test_status_is_merged_and_null_removes(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        await stage.cluster.patch_status(TENANTS, meta, {"id": "a", "role": "b"})
        await stage.cluster.patch_status(TENANTS, meta, {"id": None, "schema": "c"})
        found = await stage.present()

        assert found.status == {"role": "b", "schema": "c"}
        assert found.meta.generation == 1

    @BOTH
    async def test_the_status_of_what_is_gone_is_nobodys_concern(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        await stage.delete()
        await stage.cluster.patch_status(TENANTS, meta, {"id": "a"})
        await stage.cluster.set_finalizer(TENANTS, meta, present=False)

        assert await stage.tenant() is None

    @BOTH
    async def test_a_finalizer_holds_until_it_is_removed(self, stage: Stage) -> None:
        await stage.cluster.set_finalizer(TENANTS, (await stage.present()).meta, present=True)
        await stage.delete()
        held = await stage.present()
        assert held.meta.deleting
        assert held.meta.held

        await stage.cluster.set_finalizer(TENANTS, held.meta, present=False)
        assert await stage.tenant() is None

    @BOTH
    async def test_a_finalizer_is_not_set_on_what_has_changed(self, stage: Stage) -> None:
        stale = (await stage.present()).meta
        await stage.change()

        with pytest.raises(BusyError):
            await stage.cluster.set_finalizer(TENANTS, stale, present=True)

    @BOTH
    async def test_a_finalizer_is_not_set_on_what_has_vanished(self, stage: Stage) -> None:
        gone = (await stage.present()).meta
        await stage.delete()

        with pytest.raises(BusyError):
            await stage.cluster.set_finalizer(TENANTS, gone, present=True)

    @BOTH
    async def test_a_secret_holds_just_what_was_written_last(self, stage: Stage) -> None:
        owner = (await stage.present()).raw
        when = {"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:00:00Z"}
        await stage.cluster.write_secret(owner, "keys", None, {"a": "1", "b": "2"}, when)
        first = await stage.cluster.get_secret(stage.namespace, "keys")
        assert first is not None
        await stage.cluster.write_secret(owner, "keys", first, {"b": "3"}, {"b": when["b"]})
        second = await stage.cluster.get_secret(stage.namespace, "keys")

        assert second is not None
        assert second.data == {"b": "3"}
        assert second.created == {"b": when["b"]}
        assert second.owner_uids == {owner["metadata"]["uid"]}
        assert second.managed

    @BOTH
    async def test_a_secret_is_not_written_over_anothers_change(self, stage: Stage) -> None:
        owner = (await stage.present()).raw
        await stage.cluster.write_secret(owner, "keys", None, {"a": "1"}, {})
        first = await stage.cluster.get_secret(stage.namespace, "keys")
        await stage.cluster.write_secret(owner, "keys", first, {"a": "2"}, {})

        for stale in (first, None):
            with pytest.raises(BusyError):
                await stage.cluster.write_secret(owner, "keys", stale, {"a": "3"}, {})


async def test_what_the_role_does_not_grant_is_refused_in_words(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
    async with Kubernetes() as cluster:
        with pytest.raises(UnavailableError, match=r"403 .*cannot list"):
            await cluster._call("GET", "api/v1/secrets")


@pytest.mark.parametrize("terminating", [True, False])
async def test_an_event_that_cannot_be_posted_is_in_the_log_and_no_failure(
    api: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    terminating: bool,
) -> None:
    namespace = f"t{secrets.token_hex(4)}"
    await api.call("POST", "api/v1/namespaces", {"metadata": {"name": namespace}})
    if terminating:
        await api.call("DELETE", f"api/v1/namespaces/{namespace}")
    subject = {
        "apiVersion": "argus.dev/v1alpha1",
        "kind": "ArgusTenant",
        "metadata": {"name": "shop", "namespace": namespace, "uid": "u"},
    }
    user = OPERATOR if terminating else "stranger"
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user)))
    with caplog.at_level("INFO", logger="argus_operator"):
        async with Kubernetes() as cluster:
            await cluster.post_event(subject, "Normal", "Retained", "kept everything")

    said = [(record.levelname, record.message) for record in caplog.records]
    assert ("INFO", "event") in said
    assert (("WARNING", "an event was not posted") in said) is not terminating


async def test_a_kind_that_is_not_served_is_no_absence(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(ADMIN)))
    async with Kubernetes() as cluster:
        with pytest.raises(UnavailableError, match="404"):
            await cluster.get("argusnothings", "default", "shop")
        with pytest.raises(UnavailableError, match="404"):
            await cluster.objects("argusnothings")


async def test_an_api_server_that_is_away_is_unavailable_in_bounded_time(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = api.kubeconfig("nobody")
    config.write_text(config.read_text().replace(api.url, "https://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", str(config))
    async with Kubernetes(timeout=2) as cluster:
        async with asyncio.timeout(5):
            with pytest.raises(UnavailableError, match="does not answer"):
                await cluster.objects(TENANTS)


async def test_credentials_are_read_again_when_they_have_expired(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig("expired")))
    async with Kubernetes() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))

        assert isinstance(await cluster.objects(TENANTS), list)
