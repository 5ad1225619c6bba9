"""Topics that somebody else made, on a broker that lets ARGUS make and configure none.

Operator, ingest and stream are processes that log in as a user who may read and write what it was
granted, and nothing else: whatever they asked beyond that would be refused.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from argus_contract import names
from argus_contract.names import TopicName
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.errors import RefusedError
from argus_operator.topics import Configure, Create, Grow, TopicSpec, TopicState

from tests.integration.ingest.brokers import (
    PASSWORD,
    USER,
    GuardedBroker,
    Operation,
    Resource,
    guarded_broker,
)
from tests.integration.operator import apiserver, process
from tests.integration.operator.apiserver import free_port
from tests.integration.operator.process import Engines, Operator, Proxy
from tests.integration.operator.test_no_clear_text import running, variables
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
EVENT: Final = (
    b'{"event": "page_view", "id": "0197c1f0-0000-7000-8000-000000000001", '
    b'"properties": {"url": "https://shop.example/"}}'
)
NO_EVENT: Final = b'{"event": 5}'
MIXED: Final = b"[%b, %b]" % (NO_EVENT, EVENT.replace(b"0001", b"0002"))
"""The ids make one event of those that a test has to send again."""
USES: Final = (Operation.READ, Operation.WRITE)
CHANGES_S: Final = 40.0
LOGIN: Final = {
    "ARGUS_KAFKA__SECURITY": "sasl_plaintext",
    "ARGUS_KAFKA__MECHANISM": "PLAIN",
    "ARGUS_KAFKA__USERNAME": USER,
    "ARGUS_KAFKA__PASSWORD": PASSWORD,
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whoever looks after the broker: makes topics, and grants their use."""

    broker: GuardedBroker
    admin: AIOKafkaAdminClient

    async def make(self, name: str, partitions: int = 1, **configs: str) -> TopicName:
        """A topic that ARGUS may read and write."""
        named = {key.replace("_", "."): value for key, value in configs.items()}
        await self.admin.create_topics([NewTopic(name, partitions, 1, topic_configs=named)])
        await self.broker.grant(Resource.TOPIC, name, *USES)
        return TopicName(name)

    async def topics(self) -> set[str]:
        """All that there are, but for Kafka's own."""
        listed = await self.admin.list_topics()
        return {name for name in listed if not name.startswith("__")}

    async def records(self, topic: str) -> list[bytes]:
        """The values in a topic's first partition."""
        partition = TopicPartition(topic, 0)
        found: list[bytes] = []
        async with AIOKafkaConsumer(
            bootstrap_servers=self.broker.bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                fetched = await consumer.getmany(partition, timeout_ms=200)
                found += [record.value for record in fetched.get(partition, ())]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner() -> AsyncIterator[Owner]:
    """A broker's owner, who lets ARGUS use its consumer group."""
    async with guarded_broker() as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await broker.grant(Resource.GROUP, names.STREAM_GROUP, Operation.READ)
        yield Owner(broker, admin)
        await admin.close()


@dataclass(frozen=True, slots=True)
class Platform:
    """ARGUS on that broker."""

    operator: Operator
    client: httpx.AsyncClient
    sql: asyncpg.Connection

    async def key(self, namespace: str) -> str:
        """The key of the tenant `shop`."""
        path = f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"
        found = await self.operator.kubernetes.call("GET", path)
        return base64.b64decode(found["data"]["default"]).decode()

    async def until_answered(self, key: str, body: bytes, status: int) -> None:
        """Returns once a request with this body has this status."""

        async def answered() -> bool:
            headers = {"Authorization": f"Bearer {key}"}
            try:
                answer = await self.client.post("/v1/events", content=body, headers=headers)
            except httpx.ConnectError:  # ingest listens once it has read the registry
                return False
            return answer.status_code == status

        await eventually(answered, CHANGES_S)

    async def until_stored(self, status: dict[str, Any], rows: int) -> None:
        """Returns once a pipeline's table has so many rows."""
        statement = f"SELECT count(*) FROM {status['schema']}.{status['table']}"

        async def stored() -> bool:
            return bool(await self.sql.fetchval(statement) == rows)

        await eventually(stored, CHANGES_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_database(database: str) -> AsyncIterator[str]:
    """URL of a database in which nobody else writes."""
    name = f"it_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(database)
    await admin.execute(f"CREATE DATABASE {name}")
    yield urlsplit(database)._replace(path=f"/{name}").geturl()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def platform(
    owner: Owner, redis_url: str, own_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    """Operator, ingest and stream, all logged in as the user."""
    where = tmp_path_factory.mktemp("external")
    url = urlsplit(own_database)
    way = Proxy(url.port or 5432, (url.hostname or "", url.port or 5432))
    engines = Engines(owner.broker.guarded, redis_url, own_database, way)
    registry = await owner.make(f"argus.registry.{secrets.token_hex(4)}", cleanup_policy="compact")
    http, edge, stream = free_port(), free_port(), free_port()
    serving = {"HTTP__HOST": "127.0.0.1", "HTTP__PORT": str(http), "HTTP__DRAIN": "0"}
    to_edge = variables(engines, registry, edge, **serving) | LOGIN
    to_stream = variables(engines, registry, stream) | LOGIN
    log = where / "operator.log"
    async with (
        apiserver.serving(where) as api,
        process.running(api, engines, registry, log, LOGIN) as operator,
        running("ingest", where / "ingest.log", to_edge),
        running("stream", where / "stream.log", to_stream),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client,
    ):
        sql = await asyncpg.connect(own_database)
        yield Platform(operator, client, sql)
        await sql.close()


def external(events: str, letters: str, **more: Any) -> dict[str, Any]:
    """A pipeline's spec."""
    topics = {"external": {"name": events, "deadLetterName": letters}}
    return {"tenantRef": {"name": "shop"}, "topic": topics} | more


async def test_events_go_through_topics_that_another_made_and_keeps(
    platform: Platform, owner: Owner
) -> None:
    operator, events, letters = platform.operator, "shop-events", "shop-letters"
    namespace = await operator.namespace()
    await operator.create(TENANTS, namespace, "shop", {})
    spec = external(events, letters, deletionPolicy="Delete")
    await operator.create(PIPELINES, namespace, "web", spec)
    await operator.wait(PIPELINES, namespace, "web", "KafkaForbidden", "TopicsReady")
    for name in (events, letters):
        await owner.broker.grant(Resource.TOPIC, name, *USES)
    await operator.wait(PIPELINES, namespace, "web", "TopicMissing", "TopicsReady")
    assert not {events, letters} & await owner.topics()

    await owner.make(events, 2)
    await owner.make(letters)
    made = await operator.wait(PIPELINES, namespace, "web", "Accepting")
    status = made["status"]
    assert (status["topic"], status["deadLetterTopic"]) == (events, letters)
    assert status["partitions"] == 2

    key = await platform.key(namespace)
    await platform.until_answered(key, EVENT, 202)
    await platform.until_answered(key, MIXED, 202)
    await platform.until_stored(status, 2)

    async def lettered() -> bool:
        return set(await owner.records(letters)) == {NO_EVENT}

    await eventually(lettered, CHANGES_S)
    before = await owner.topics()
    await operator.delete(PIPELINES, namespace, "web")
    await operator.gone(PIPELINES, namespace, "web")
    assert await owner.topics() == before
    table = f"{status['schema']}.{status['table']}"
    assert await platform.sql.fetchval("SELECT to_regclass($1)", table) is None


async def test_a_topic_that_another_pipeline_has_is_refused_in_either_part(
    platform: Platform, owner: Owner
) -> None:
    operator = platform.operator
    for name in ("taken", "taken-letters", "free"):
        await owner.make(name)
    first, second = await operator.namespace(), await operator.namespace()
    for namespace in (first, second):
        await operator.create(TENANTS, namespace, "shop", {})
    await operator.create(PIPELINES, first, "web", external("taken", "taken-letters"))
    await operator.wait(PIPELINES, first, "web", "Accepting")

    await operator.create(PIPELINES, second, "same", external("taken", "free"))
    await operator.create(PIPELINES, second, "crossed", external("free", "taken"))
    for name in ("same", "crossed"):
        found = await operator.wait(PIPELINES, second, name, "NameTaken", "SchemasReady")
        [told] = [c for c in found["status"]["conditions"] if c["type"] == "SchemasReady"]
        assert "names other topics" in told["message"]


async def test_a_pipeline_whose_topics_argus_should_make_says_that_it_may_not(
    platform: Platform, owner: Owner
) -> None:
    operator, before = platform.operator, await owner.topics()
    namespace = await operator.namespace()
    await operator.create(TENANTS, namespace, "shop", {})
    await operator.create(PIPELINES, namespace, "web", {"tenantRef": {"name": "shop"}})
    found = await operator.wait(PIPELINES, namespace, "web", "KafkaForbidden", "TopicsReady")

    [told] = [c for c in found["status"]["conditions"] if c["type"] == "TopicsReady"]
    assert "spec.topic.external" in told["message"]
    assert await owner.topics() == before


async def test_what_the_broker_denies_is_refused_and_not_tried_for_ever(owner: Owner) -> None:
    admin = KafkaAdmin(owner.broker.credentials, 1, 20)
    name = await owner.make("adapter", 2)
    denied = (Create(TopicSpec(TopicName("argus.new"), 1, {})), Grow(name, 3), Configure(name, {}))
    try:
        for action in denied:
            with pytest.raises(RefusedError, match="does not let"):
                await admin.apply([action])
        with pytest.raises(RefusedError):
            await admin.delete([name])
        with pytest.raises(RefusedError, match="unseen"):
            await admin.observe([TopicName("unseen")])
        assert not await admin.creates_by_itself()
    finally:
        await admin.close()


async def test_configuration_is_known_where_it_may_be_read(owner: Owner) -> None:
    admin = KafkaAdmin(owner.broker.credentials, 1, 20)
    name = await owner.make("told", 2, retention_ms="7200000")
    try:
        assert await admin.observe([name]) == {name: TopicState(2, {}, readable=False)}
        assert await admin.matching("argus.none.", {name, TopicName("unseen")}) == {
            name: TopicState(2, {}, readable=False)
        }
        await owner.broker.grant(Resource.TOPIC, name, Operation.DESCRIBE_CONFIGS)

        async def told() -> bool:
            return (await admin.observe([name]))[name].readable

        await eventually(told, 10)
        assert (await admin.observe([name]))[name].retention_seconds == 7_200
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ("partitions", "policy", "readable", "problem"),
    [
        (1, "compact", True, None),
        (1, "delete", False, None),
        (1, "delete", True, "cleanup.policy=delete"),
        (2, "compact", False, "2 partitions"),
    ],
)
async def test_the_registry_takes_a_topic_that_will_do(
    owner: Owner, partitions: int, policy: str, readable: bool, problem: str | None
) -> None:
    name = await owner.make(f"registry-{secrets.token_hex(4)}", partitions, cleanup_policy=policy)
    if readable:
        await owner.broker.grant(Resource.TOPIC, name, Operation.DESCRIBE_CONFIGS)
    await asyncio.sleep(0.5)  # a broker hears of a grant a moment after its controller
    admin = KafkaAdmin(owner.broker.credentials, 1, 20)
    registry = RegistryLog(owner.broker.credentials, topic_spec(name, 1), admin, 20)
    try:
        if problem is None:
            await registry.load()
        else:
            with pytest.raises(RefusedError, match=problem):
                await registry.load()
    finally:
        await registry.close()
        await admin.close()
