"""The operator process between a real API server, Kafka, Valkey and TimescaleDB."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from argus_contract import names
from argus_contract.keys import hash_key
from argus_contract.names import TenantId
from argus_contract.registry import TenantDocument
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.topics import TopicState
from argus_runtime.registry import RegistryTail

from tests.integration.operator import process
from tests.integration.operator.process import Operator
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
SPEC: dict[str, Any] = {
    "tenantRef": {"name": "shop"},
    "topic": {"retention": {"bytes": "64Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_admin(operator: Operator) -> AsyncIterator[KafkaAdmin]:
    """Topics, looked at from outside."""
    admin = KafkaAdmin({"bootstrap_servers": operator.engines.kafka}, 1, 20)
    yield admin
    await admin.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sql(operator: Operator) -> AsyncIterator[asyncpg.Connection]:
    """The database, looked at from outside."""
    connection = await asyncpg.connect(operator.engines.database)
    yield connection
    await connection.close()


async def document(
    pods: RegistryTail, id_: TenantId, seconds: float = 10, **wanted: Any
) -> TenantDocument:
    """What pods know of a tenant, once it has these values."""
    seen: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen = (pods.snapshot or {}).get(id_)
                if seen and all(getattr(seen, name) == value for name, value in wanted.items()):
                    found: TenantDocument = seen
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"pods know of {id_} only {seen}") from None


async def forgotten(pods: RegistryTail, id_: TenantId, seconds: float = 10) -> None:
    """Returns once pods know nothing of a tenant."""
    await eventually(lambda: pods.snapshot is not None and id_ not in pods.snapshot, seconds)


async def shop(operator: Operator, **pipeline: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A namespace with a tenant and its default pipeline, both Ready."""
    namespace = await operator.namespace()
    await operator.create(TENANTS, namespace, "shop", {})
    await operator.create(PIPELINES, namespace, "web", SPEC | pipeline)
    tenant = await operator.wait(TENANTS, namespace, "shop", "Accepting")
    return namespace, tenant, await operator.wait(PIPELINES, namespace, "web", "Accepting")


async def secret(operator: Operator, namespace: str) -> dict[str, str]:
    """The keys in the tenant's Secret."""
    path = f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"
    found = await operator.kubernetes.call("GET", path)
    return {name: base64.b64decode(value).decode() for name, value in found["data"].items()}


async def test_a_tenant_and_a_pipeline_become_ready_with_all_that_they_name(
    operator: Operator,
    pods: RegistryTail,
    kafka_admin: KafkaAdmin,
    sql: asyncpg.Connection,
) -> None:
    namespace, tenant, pipeline = await shop(operator)
    status = pipeline["status"]
    known = await document(pods, TenantId(tenant["status"]["id"]))
    keys = await secret(operator, namespace)
    topics = await kafka_admin.observe([status["topic"], status["deadLetterTopic"]])

    assert known.keys[0].hash == hash_key(keys["default"])
    assert known.pipelines[0].topic == status["topic"]
    assert len(topics) == 2
    assert await sql.fetchval(
        "SELECT to_regclass($1) IS NOT NULL", f"{status['schema']}.{status['table']}"
    )
    assert await sql.fetchval("SELECT pg_has_role('argus_reader', $1, 'USAGE')", status["role"])
    assert await operator.events(namespace, "web") == ["Accepting"]


async def test_the_secret_is_owned_by_the_tenant(operator: Operator) -> None:
    namespace, tenant, _ = await shop(operator)
    path = f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"
    found = await operator.kubernetes.call("GET", path)

    (owner,) = found["metadata"]["ownerReferences"]
    assert owner["uid"] == tenant["metadata"]["uid"]
    assert keys_nowhere_else(tenant, await secret(operator, namespace))


def keys_nowhere_else(tenant: dict[str, Any], keys: dict[str, str]) -> bool:
    """Whether no key in clear stands in the resource."""
    return not any(key in str(tenant) for key in keys.values())


async def test_a_change_reaches_pods_within_two_seconds(
    operator: Operator, pods: RegistryTail
) -> None:
    namespace, tenant, _ = await shop(operator)
    id_ = TenantId(tenant["status"]["id"])
    await document(pods, id_, suspended=False)

    started = time.monotonic()
    await operator.patch(TENANTS, namespace, "shop", {"spec": {"suspended": True}})
    await document(pods, id_, suspended=True)
    assert time.monotonic() - started < 2

    started = time.monotonic()
    await operator.delete(TENANTS, namespace, "shop")
    await forgotten(pods, id_)
    assert time.monotonic() - started < 2


async def test_a_pipeline_converges_when_its_tenant_comes(operator: Operator) -> None:
    namespace = await operator.namespace()
    await operator.create(PIPELINES, namespace, "web", SPEC)
    await operator.wait(PIPELINES, namespace, "web", "TenantNotFound")
    await operator.create(TENANTS, namespace, "shop", {})

    await operator.wait(PIPELINES, namespace, "web", "Accepting")
    await operator.wait(TENANTS, namespace, "shop", "Accepting")


async def test_partitions_grow_and_retention_changes(
    operator: Operator, kafka_admin: KafkaAdmin, sql: asyncpg.Connection
) -> None:
    namespace, _, pipeline = await shop(operator)
    topic = pipeline["status"]["topic"]
    change = {
        "topic": {"partitions": 3, "retention": {"hours": 5, "bytes": "96Mi"}},
        "storage": {"chunkInterval": "2h", "retention": "10d"},
    }
    await operator.patch(PIPELINES, namespace, "web", {"spec": change})
    found = await operator.wait(PIPELINES, namespace, "web", "Accepting")
    state = (await kafka_admin.observe([topic]))[topic]
    observed = await sql.fetchrow(
        "SELECT * FROM argus.observe_pipeline($1)", found["metadata"]["uid"]
    )

    assert found["status"]["partitions"] == state.partitions == 3
    assert (state.retention_seconds, state.retention_bytes) == (5 * 3_600, 96 << 20)
    assert observed is not None
    assert observed["chunk_interval"].total_seconds() == 7_200
    assert observed["partitions"] == 3


async def test_drift_is_repaired(
    operator: Operator, pods: RegistryTail, kafka_admin: KafkaAdmin, sql: asyncpg.Connection
) -> None:
    namespace, tenant, pipeline = await shop(operator)
    status, id_ = pipeline["status"], TenantId(tenant["status"]["id"])
    before = await document(pods, id_)
    rollup = f"{status['schema']}.{status['table'].replace('events_', 'rollup_')}"
    await kafka_admin.delete([status["deadLetterTopic"]])
    await sql.execute(f"DROP TABLE {rollup}")
    await operator.kubernetes.call(
        "DELETE", f"api/v1/namespaces/{namespace}/secrets/shop-argus-keys"
    )

    async def repaired() -> bool:
        return bool(
            (await document(pods, id_)).keys != before.keys
            and await sql.fetchval("SELECT to_regclass($1) IS NOT NULL", rollup)
            and await kafka_admin.observe([status["deadLetterTopic"]])
        )

    await eventually(repaired, 30)
    known = await document(pods, id_)
    assert known.keys[0].hash == hash_key((await secret(operator, namespace))["default"])
    assert "KeysRegenerated" in await operator.events(namespace, "shop")


async def test_retain_keeps_rows_and_topics_and_frees_the_name(
    operator: Operator, kafka_admin: KafkaAdmin, sql: asyncpg.Connection
) -> None:
    namespace, _, pipeline = await shop(operator)
    status, uid = pipeline["status"], pipeline["metadata"]["uid"]
    table = f"{status['schema']}.{status['table']}"
    await sql.execute(
        f"INSERT INTO {table} (time, id, received_at, source_offset, source_partition, event)"
        " VALUES (now(), gen_random_uuid(), now(), 0, 0, 'click')"
    )
    await operator.delete(PIPELINES, namespace, "web")
    await operator.gone(PIPELINES, namespace, "web")

    assert await sql.fetchval(f"SELECT count(*) FROM {table}_{names.short_uid(uid)}") == 1
    assert await kafka_admin.observe([status["topic"]])
    assert "Retained" in await operator.events(namespace, "web")

    await operator.create(PIPELINES, namespace, "web", SPEC)
    again = await operator.wait(PIPELINES, namespace, "web", "Accepting")
    assert again["status"]["topic"] != status["topic"]
    assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_delete_drops_everything(
    operator: Operator, pods: RegistryTail, kafka_admin: KafkaAdmin, sql: asyncpg.Connection
) -> None:
    namespace, tenant, pipeline = await shop(operator, deletionPolicy="Delete")
    status, id_ = pipeline["status"], tenant["status"]["id"]
    await operator.patch(TENANTS, namespace, "shop", {"spec": {"deletionPolicy": "Delete"}})
    await operator.wait(TENANTS, namespace, "shop", "Accepting")
    await operator.delete(TENANTS, namespace, "shop")
    await operator.delete(PIPELINES, namespace, "web")
    await operator.gone(PIPELINES, namespace, "web")
    await operator.gone(TENANTS, namespace, "shop")

    assert not await kafka_admin.observe([status["topic"], status["deadLetterTopic"]])
    assert not await sql.fetchval("SELECT to_regnamespace($1) IS NOT NULL", status["schema"])
    assert not await sql.fetchval(
        "SELECT EXISTS (SELECT FROM argus.tenants WHERE tenant_id = $1)", id_
    )
    assert id_ not in (pods.snapshot or {})


async def test_a_database_that_is_away_is_a_condition_until_it_is_back(
    operator: Operator, pods: RegistryTail
) -> None:
    namespace, tenant, _ = await shop(operator)
    id_ = TenantId(tenant["status"]["id"])
    await operator.engines.to_database.close()
    try:
        await operator.wait(PIPELINES, namespace, "web", "DatabaseUnavailable", "SchemasReady")
        await operator.patch(TENANTS, namespace, "shop", {"spec": {"suspended": True}})
        await document(pods, id_, suspended=True)
        assert (await operator.ops_answer("/healthz"))[0] == 200
    finally:
        await operator.engines.to_database.open()
    await operator.patch(TENANTS, namespace, "shop", {"spec": {"suspended": False}})

    await operator.wait(PIPELINES, namespace, "web", "Accepting")


async def test_nothing_is_written_where_nothing_changed(operator: Operator, kafka: str) -> None:
    namespace, tenant, _ = await shop(operator)

    async def is_settled() -> bool:
        found = await operator.get(PIPELINES, namespace, "web")
        return found is not None and {"audit", "rates"} <= found["status"].keys()

    await eventually(is_settled, 30)
    pipeline = await operator.get(PIPELINES, namespace, "web")
    assert pipeline is not None
    await asyncio.sleep(8)  # two rounds of the resync, and more

    for plural, before in ((TENANTS, tenant), (PIPELINES, pipeline)):
        after = await operator.get(plural, namespace, before["metadata"]["name"])
        assert after is not None
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert set(after["metadata"].get("annotations", {})) == set()


async def test_metrics_are_served(operator: Operator) -> None:
    status, text = await operator.ops_answer("/metrics")

    assert status == 200
    assert 'argus_operator_reconciles_total{kind="tenant",outcome="done"}' in text


async def test_what_the_stream_reports_becomes_figures_conditions_and_metrics(
    operator: Operator, sql: asyncpg.Connection
) -> None:
    namespace, _, pipeline = await shop(operator)
    topic = pipeline["status"]["topic"]
    await sql.execute("SELECT argus.open_partition($1, 0, 0)", topic)

    async def report(state: str, reason: str | None, end: int) -> None:
        await sql.execute("SELECT argus.sample($1, '{0}', $2, '{NULL}')", [topic], [end])
        await sql.execute(
            "SELECT argus.report_states($1, '{0}', $2, $3)", [topic], [state], [reason]
        )

    await report("open", None, 0)
    await operator.wait(PIPELINES, namespace, "web", "AsExpected", "Healthy")
    await report("guarded", "most rows are refused", 5)
    found = await operator.wait(PIPELINES, namespace, "web", "GuardTripped", "Healthy")
    _, text = await operator.ops_answer("/metrics")
    whose = f'namespace="{namespace}",pipeline="web"'

    assert found["status"]["lag"] == 5
    assert "oldestUnreadAt" in found["status"]
    assert found["status"]["deadLetters"] == {"total": 0, "reasons": []}
    assert f'argus_operator_pipeline_state{{{whose},state="guarded",tenant="shop"}} 1.0' in text
    assert f'argus_operator_ledger_in_flight_records{{{whose},tenant="shop"}} 5.0' in text
    assert sorted(await operator.events(namespace, "web")) == ["Accepting", "GuardTripped"]

    await report("stopped", "the log ends at 3", 5)
    await operator.wait(PIPELINES, namespace, "web", "PartitionStopped")
    await report("open", None, 0)
    await operator.wait(PIPELINES, namespace, "web", "Accepting")
    await operator.wait(PIPELINES, namespace, "web", "AsExpected", "Healthy")


async def test_a_row_that_another_hand_wrote_is_found_by_the_audit(
    operator: Operator, sql: asyncpg.Connection
) -> None:
    namespace = await operator.namespace()
    await operator.create(TENANTS, namespace, "shop", {})
    tenant = (await operator.wait(TENANTS, namespace, "shop", "NoPipeline"))["status"]
    paused = {"argus.dev/paused": "true"}
    made = await operator.create(PIPELINES, namespace, "web", SPEC, annotations=paused)
    uid = made["metadata"]["uid"]
    topic = names.topic(namespace, "web", uid)
    async with sql.transaction():  # no audit can be between the table and the row
        await sql.execute(
            "SELECT argus.ensure_pipeline($1, $2, 'web', $3, $4, 1, '1 day', '90 days', '1 day')",
            *(tenant["id"], uid, topic, names.dead_letter_topic(topic)),
        )
        await sql.execute(
            f"INSERT INTO {tenant['schema']}.events_web (time, id, received_at, source_offset,"
            " source_partition, event) VALUES (now(), gen_random_uuid(), now(), 0, 0, 'click')"
        )
    found = (await operator.wait(PIPELINES, namespace, "web", "Unbalanced", "Healthy"))["status"]

    assert found["audit"]["balanced"] is False
    assert "rows 1 + expired 0 ≠ stored 0" in found["audit"]["message"]


async def test_what_was_deleted_while_the_operator_was_away_leaves_the_registry(
    operator: Operator, tmp_path: Path
) -> None:
    topic = operator.registry_topic + ".away"
    namespace = await operator.namespace()
    tail = RegistryTail({"bootstrap_servers": operator.engines.kafka}, topic)
    following = asyncio.create_task(tail.run())
    async with process.running(
        operator.kubernetes, operator.engines, topic, tmp_path / "first.log"
    ) as first:
        await first.create(TENANTS, namespace, "shop", {})
        await first.create(TENANTS, namespace, "other", {})
        gone = await first.wait(TENANTS, namespace, "shop", "NoPipeline")
        stays = await first.wait(TENANTS, namespace, "other", "NoPipeline")
        await document(tail, TenantId(gone["status"]["id"]))
        kept = await document(tail, TenantId(stays["status"]["id"]))
        await operator.patch(TENANTS, namespace, "shop", {"metadata": {"finalizers": None}})
        await operator.delete(TENANTS, namespace, "shop")

    async with process.running(
        operator.kubernetes, operator.engines, topic, tmp_path / "second.log"
    ):
        await forgotten(tail, TenantId(gone["status"]["id"]), seconds=20)
        assert await document(tail, kept.id) == kept
    following.cancel()
    await asyncio.wait({following})


async def test_the_registry_is_a_compacted_topic_of_one_partition(
    operator: Operator, kafka: str
) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    (topic,) = await client.describe_topics([operator.registry_topic])
    await client.close()
    admin = KafkaAdmin({"bootstrap_servers": kafka}, 1, 20)
    state: TopicState = (await admin.observe([names.TopicName(operator.registry_topic)]))[
        names.TopicName(operator.registry_topic)
    ]
    await admin.close()

    assert len(topic["partitions"]) == 1
    assert state.configs["cleanup.policy"] == "compact"


async def test_the_registry_holds_no_key_in_clear(operator: Operator, kafka: str) -> None:
    namespace, _, _ = await shop(operator)
    keys = [key.encode() for key in (await secret(operator, namespace)).values()]
    consumer = AIOKafkaConsumer(
        operator.registry_topic, bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    fetched = await consumer.getmany(timeout_ms=5_000)
    await consumer.stop()
    values = [record.value or b"" for records in fetched.values() for record in records]

    assert values
    assert not any(key in value for key in keys for value in values)
