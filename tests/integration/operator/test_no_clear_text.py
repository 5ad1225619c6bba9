"""An API key in clear stands in its Secret and nowhere else.

A tenant lives through what keys live through (made, sent in every way, unknown, rotated, revoked,
lost and made again) while operator, ingest and stream log at DEBUG. Then everything that is kept or
shown anywhere is read and searched; what each search can find is proved by a key planted there.
"""

import asyncio
import base64
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from argus_contract.keys import KeyKind, generate, hash_key
from prometheus_client import CollectorRegistry, Counter, start_http_server
from redis.asyncio import Redis

from tests.integration.conftest import PASSWORD
from tests.integration.operator import apiserver, process
from tests.integration.operator.apiserver import MERGE, ApiServer, free_port
from tests.integration.operator.process import Engines, Operator, Proxy
from tests.integration.operator.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

TENANTS, PIPELINES = "argustenants", "arguspipelines"
TENANT: Final = {
    "apiKeys": [{"name": "web", "kind": "public"}, {"name": "backend", "kind": "server"}],
    "rateLimit": {"perKey": {"rate": 1, "burst": 5000}, "perIP": {"rate": 1, "burst": 5000}},
}
"""A bucket stays in Redis until it is full again: here for a second for each event."""
PIPELINE: Final = {
    "tenantRef": {"name": "shop"},
    "topic": {"retention": {"bytes": "64Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
}
EVENT: Final = b'{"event": "page_view", "properties": {"url": "https://shop.example/"}}'
LEAKED: Final = 12
"""Characters of a key's secret part whose appearance is a leak: 72 bits, so never by chance."""
CHANGES_S: Final = 40.0

Texts = AsyncIterator[tuple[str, bytes]]
"""What a place holds, piece by piece, each with where it was read."""


@dataclass(frozen=True)
class Places:
    """Everywhere a key could come to stand."""

    kubernetes: ApiServer
    logs: tuple[Path, ...]
    redis_url: str
    database: str
    kafka: str
    topics: tuple[str, ...]
    metrics: tuple[str, ...]


# Reading each place whole


async def kubernetes(places: Places) -> Texts:
    """Every object of every kind, annotations, status and events included; of Secrets all but what
    they are for."""
    api = places.kubernetes
    groups = (await api.call("GET", "apis"))["groups"]
    versions = [
        "api/v1",
        *(f"apis/{group['preferredVersion']['groupVersion']}" for group in groups),
    ]
    for version in versions:
        for kind in (await api.call("GET", version))["resources"]:
            if "list" not in kind["verbs"] or "/" in kind["name"]:
                continue
            for found in (await api.call("GET", f"{version}/{kind['name']}"))["items"]:
                if kind["kind"] == "Secret":
                    del found["data"]
                meta = found["metadata"]
                where = f"{kind['name']}/{meta.get('namespace', '')}/{meta['name']}"
                yield where, json.dumps(found).encode()


async def logs(places: Places) -> Texts:
    """The processes' logs."""
    for path in places.logs:
        yield path.name, path.read_bytes()


async def redis(places: Places) -> Texts:
    """Every key with its value."""
    async with Redis.from_url(places.redis_url) as client:
        async for key in client.scan_iter(count=1_000):
            yield "key", key
            yield key.decode(errors="replace"), repr(await _value(client, key)).encode()


async def _value(client: Redis, key: bytes) -> Any:
    match await client.type(key):
        case b"string":
            return await client.get(key)
        case b"hash":
            return await client.hgetall(key)
        case b"list":
            return await client.lrange(key, 0, -1)
        case b"set":
            return await client.smembers(key)
        case b"zset":
            return await client.zrange(key, 0, -1)
        case b"none":  # expired meanwhile
            return None
        case other:
            raise AssertionError(f"no way to read a {other!r}")


async def sql(places: Places) -> Texts:
    """Every row of every table of every schema of ours, with all its columns."""
    connection = await asyncpg.connect(places.database)
    tables = await connection.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    for (table,) in tables:
        for (row,) in await connection.fetch(f"SELECT t::text FROM {table} t"):
            yield table, row.encode()
    await connection.close()


async def kafka(places: Places) -> Texts:
    """Every record of the registry and of the pipeline's topics: key, value, headers."""
    consumer = AIOKafkaConsumer(bootstrap_servers=places.kafka, auto_offset_reset="earliest")
    await consumer.start()
    parts = [TopicPartition(topic, 0) for topic in places.topics]
    consumer.assign(parts)
    ends = await consumer.end_offsets(parts)
    while any([await consumer.position(part) < ends[part] for part in parts]):
        for part, records in (await consumer.getmany(timeout_ms=200)).items():
            for record in records:
                headers = b" ".join(value for _, value in record.headers)
                yield part.topic, b" ".join((record.key or b"", record.value or b"", headers))
    await consumer.stop()


async def metrics(places: Places) -> Texts:
    """What each process shows of itself."""
    async with httpx.AsyncClient() as client:
        for url in places.metrics:
            answer = await client.get(url)
            assert answer.status_code == 200
            yield url, answer.content


READERS: Final[Mapping[str, Callable[[Places], Texts]]] = {
    read.__name__: read for read in (kubernetes, logs, redis, sql, kafka, metrics)
}


def traces(key: str) -> tuple[bytes, ...]:
    """What a key, or a good part of it, looks like: in clear, in base64, in hexadecimal."""
    clear = key.encode()
    part = key.split("_", 2)[2][:LEAKED].encode()
    return part, base64.b64encode(clear)[:-4], part.hex().encode()


async def search(texts: Texts, keys: frozenset[str]) -> tuple[int, set[str]]:
    """How many bytes were read, and where a key stands."""
    needles = [trace for key in keys for trace in traces(key)]
    size, found = 0, set()
    async for where, text in texts:
        size += len(text)
        if any(needle in text for needle in needles):
            found.add(where)
    return size, found


# The life of a tenant's keys


@asynccontextmanager
async def running(component: str, log: Path, variables: Mapping[str, str]) -> AsyncIterator[None]:
    """A process of ARGUS, its log in a file."""
    command = f"import sys; from argus_{component}.main import main; sys.exit(main())"
    with log.open("ab") as sink:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-c", command, env=os.environ | variables, stdout=sink, stderr=sink
        )
    try:
        yield
    finally:
        started.terminate()
        code = await asyncio.wait_for(started.wait(), 40)
    assert code == 0, _end_of(log)


def _end_of(log: Path) -> str:
    return log.read_text()[-4_000:]


def variables(engines: Engines, topic: str, ops: int, **more: str) -> dict[str, str]:
    """The settings of ingest and stream."""
    redis, database = urlsplit(engines.redis_url), urlsplit(engines.database)
    names = {
        "KAFKA__BOOTSTRAP": engines.kafka,
        "REDIS__URL": f"redis://{redis.hostname}:{redis.port}/0",
        "REDIS__PASSWORD": redis.password or "",
        "DATABASE__HOST": database.hostname or "",
        "DATABASE__PORT": str(database.port),
        "DATABASE__NAME": database.path.removeprefix("/"),
        "DATABASE__USER": "argus_stream",
        "DATABASE__PASSWORD": PASSWORD,
        "REGISTRY_TOPIC": topic,
        "OPS__HOST": "127.0.0.1",
        "OPS__PORT": str(ops),
        "LOG__LEVEL": "DEBUG",
    }
    return {f"ARGUS_{name}": value for name, value in (names | more).items()}


class Tenant:
    """A tenant whose keys are used and changed; remembers every key that was ever presented."""

    def __init__(self, operator: Operator, namespace: str, client: httpx.AsyncClient) -> None:
        self.operator = operator
        self.namespace = namespace
        self.client = client
        self.seen: set[str] = set()

    async def secret(self) -> dict[str, str]:
        """What stands in the Secret now; empty where there is none."""
        path = f"api/v1/namespaces/{self.namespace}/secrets/shop-argus-keys"
        found = await self.operator.kubernetes.found(path) or {}
        data = {name: base64.b64decode(v).decode() for name, v in found.get("data", {}).items()}
        self.seen.update(data.values())
        return data

    async def until(self, holds: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """The Secret, once it is so."""
        found: dict[str, str] = {}

        async def held() -> bool:
            found.clear()
            found.update(await self.secret())
            return holds(found)

        await eventually(held, CHANGES_S)
        return found

    async def annotate(self, annotation: str, value: str) -> None:
        """Asks something of the operator."""
        body = {"metadata": {"annotations": {annotation: value}}}
        await self.operator.patch(TENANTS, self.namespace, "shop", body)

    async def post(self, key: str, how: str, body: bytes = EVENT) -> int:
        """The status of a request that shows the key in this way."""
        self.seen.add(key)
        headers = {"bearer": {"Authorization": f"Bearer {key}"}, "header": {"X-Api-Key": key}}
        query = {"url": {"key": key}}
        answer = await self.client.post(
            "/v1/events", content=body, params=query.get(how), headers=headers.get(how)
        )
        assert key not in answer.text
        assert key not in str(answer.headers)
        return answer.status_code

    async def until_answered(self, key: str, status: int) -> None:
        """Returns once a request with this key has this status."""

        async def answered() -> bool:
            return await self.post(key, "bearer") == status

        await eventually(answered, CHANGES_S)

    async def live(self) -> None:
        """All that keys live through."""
        made = await self.until(lambda data: {"web", "backend"} <= data.keys())
        await self.until_answered(made["backend"], 202)
        await self._be_used(made)
        await self._be_changed(made)

    async def _be_used(self, made: Mapping[str, str]) -> None:
        unknown = generate(KeyKind.SERVER)
        assert [await self.post(made["backend"], how) for how in ("header", "url")] == [202, 403]
        assert [await self.post(made["web"], how) for how in ("bearer", "url")] == [202, 202]
        assert [await self.post(unknown, how) for how in ("bearer", "header", "url")] == [401] * 3
        assert await self.post(made["web"], "url", b"no JSON") == 400
        assert await self.post(made["web"], "url", b'{"event": 5}') == 422

    async def _be_changed(self, made: Mapping[str, str]) -> None:
        await self.annotate("argus.dev/rotate", "backend")
        rotated = await self.until(lambda data: data.get("backend") != made["backend"])
        assert rotated["backend.previous"] == made["backend"]
        await self.until_answered(rotated["backend"], 202)
        assert await self.post(made["backend"], "bearer") == 202

        await self.annotate("argus.dev/revoke", "backend.previous,web")
        revoked = await self.until(lambda data: "backend.previous" not in data)
        await self.until_answered(made["web"], 401)
        await self.until_answered(made["backend"], 401)
        await self.until_answered(revoked["web"], 202)

        path = f"api/v1/namespaces/{self.namespace}/secrets/shop-argus-keys"
        await self.operator.kubernetes.call("DELETE", path)
        again = await self.until(lambda data: {"web", "backend"} <= data.keys())
        await self.until_answered(again["backend"], 202)
        await self.until_answered(revoked["backend"], 401)

    async def be_used(self) -> frozenset[str]:
        """Sends events with the keys of now; gives all that were ever presented."""
        now = await self.secret()
        assert [await self.post(now["web"], how) for how in ("bearer", "url")] == [202, 202]
        assert await self.post(now["backend"], "header") == 202
        return frozenset(self.seen)


@dataclass(frozen=True)
class Life:
    """Where a tenant that has lived through it all could have left a key."""

    places: Places
    tenant: Tenant


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(kafka: str, redis_url: str, database: str) -> AsyncIterator[Engines]:
    """The engines, with a database in which nobody else writes."""
    name = f"it_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(database)
    await admin.execute(f"CREATE DATABASE {name}")
    url = urlsplit(database)._replace(path=f"/{name}")
    way = url.port or 5432
    yield Engines(kafka, redis_url, url.geturl(), Proxy(way, (url.hostname or "", way)))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def life(own: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    """A tenant that has lived, with all processes still up."""
    where = tmp_path_factory.mktemp("clear")
    topic = f"argus.registry.{secrets.token_hex(4)}"
    names = ("operator", "ingest", "stream")
    files = {name: where / f"{name}.log" for name in names}
    http, edge, stream = free_port(), free_port(), free_port()
    to_edge = variables(
        own, topic, edge, HTTP__HOST="127.0.0.1", HTTP__PORT=str(http), HTTP__DRAIN="0"
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARGUS_LOG__LEVEL", "DEBUG")
        async with (
            apiserver.serving(where) as api,
            process.running(api, own, topic, files["operator"]) as operator,
            running("ingest", files["ingest"], to_edge),
            running("stream", files["stream"], variables(own, topic, stream)),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client,
        ):
            namespace = await operator.namespace()
            await operator.create(TENANTS, namespace, "shop", TENANT)
            await operator.create(PIPELINES, namespace, "web", PIPELINE)
            found = await operator.wait(PIPELINES, namespace, "web", "Accepting")
            tenant = Tenant(operator, namespace, client)
            await eventually(lambda: _answers(client), CHANGES_S)
            await tenant.live()
            await _until_stored(own.database, found["status"])
            ops = (operator.ops, f"http://127.0.0.1:{edge}", f"http://127.0.0.1:{stream}")
            yield Life(
                Places(
                    kubernetes=api,
                    logs=tuple(files.values()),
                    redis_url=own.redis_url,
                    database=own.database,
                    kafka=own.kafka,
                    topics=(topic, found["status"]["topic"], found["status"]["deadLetterTopic"]),
                    metrics=tuple(f"{url}/metrics" for url in ops),
                ),
                tenant,
            )


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/")).status_code > 0
    except httpx.TransportError:
        return False


async def _until_stored(database: str, status: Mapping[str, Any]) -> None:
    """Returns once events are rows and rejects are letters."""
    connection = await asyncpg.connect(database)

    async def settled() -> bool:
        query = (
            "SELECT coalesce(sum(stored), 0) > 0 AND coalesce(sum(dead_lettered), 0) > 0"
            " FROM argus.offsets WHERE topic = $1"
        )
        return bool(await connection.fetchval(query, status["topic"]))

    await eventually(settled, CHANGES_S, every=0.5)
    await connection.close()


@pytest.mark.parametrize("place", READERS)
async def test_no_key_stands_there_in_clear(life: Life, place: str) -> None:
    keys = await life.tenant.be_used()
    size, found = await search(READERS[place](life.places), keys)

    assert len(keys) == 7  # two, an unknown one, one rotated in, one for a revoked one, two again
    assert size > 0
    assert found == set()


async def mentions(texts: Texts, *words: str) -> set[str]:
    """Where one of the words is read."""
    return {where async for where, text in texts if any(word.encode() in text for word in words)}


async def test_what_is_searched_is_where_keys_are_spoken_of(life: Life) -> None:
    """Hashes and names of keys stand where a key in clear could have come to stand."""
    places = life.places
    hashes = [hash_key(key) for key in life.tenant.seen]
    told = await mentions(kubernetes(places), "KeysRegenerated", "KeysRotated", "KeyRevoked")
    await life.tenant.be_used()

    assert "key" in await mentions(redis(places), *hashes)
    assert places.topics[0] in await mentions(kafka(places), *hashes)
    assert len({where for where in told if where.startswith("events/")}) >= 3
    assert await mentions(logs(places), "DEBUG", '"debug"') == {path.name for path in places.logs}


# Each search finds a key that is there

Plant = Callable[[Places, str], Awaitable[None]]


async def in_an_annotation(places: Places, key: str) -> None:
    body = {"metadata": {"annotations": {"planted": f"a {key}"}}}
    await places.kubernetes.call("PATCH", "api/v1/namespaces/default", body, MERGE)


async def in_a_secrets_annotation(places: Places, key: str) -> None:
    encoded = base64.b64encode(key.encode()).decode()
    body = {"metadata": {"name": f"planted-{secrets.token_hex(4)}", "annotations": {"a": encoded}}}
    body |= {"data": {"web": encoded}}
    await places.kubernetes.call("POST", "api/v1/namespaces/default/secrets", body)


async def in_an_event(places: Places, key: str) -> None:
    body = {
        "metadata": {"name": f"planted-{secrets.token_hex(4)}"},
        "involvedObject": {"namespace": "default"},
        "message": f"rotated {key[: key.index('_', 6) + 1 + LEAKED]}",
    }
    await places.kubernetes.call("POST", "api/v1/namespaces/default/events", body)


async def in_a_log(places: Places, key: str) -> None:
    with places.logs[-1].open("a") as log:
        log.write(f"GET /v1/events?key={key}\n")


async def in_a_redis_key(places: Places, key: str) -> None:
    async with Redis.from_url(places.redis_url) as client:
        await client.set(f"{{planted}}:key:{key}", "1", ex=60)


async def in_a_redis_value(places: Places, key: str) -> None:
    async with Redis.from_url(places.redis_url) as client:
        name = f"{{planted}}:{secrets.token_hex(4)}"
        await client.hset(name, mapping={"used": key})
        await client.expire(name, 60)


async def _in_a_column(places: Places, type_: str, value: Any) -> None:
    connection = await asyncpg.connect(places.database)
    schema = f"planted_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(f"CREATE TABLE {schema}.t (a integer, b {type_})")
    await connection.execute(f"INSERT INTO {schema}.t VALUES (1, $1)", value)
    await connection.close()


async def in_a_text_column(places: Places, key: str) -> None:
    await _in_a_column(places, "text", key)


async def in_a_jsonb_column(places: Places, key: str) -> None:
    await _in_a_column(places, "jsonb", json.dumps({"headers": [key]}))


async def in_a_bytea_column(places: Places, key: str) -> None:
    await _in_a_column(places, "bytea", key.encode())


async def _in_a_record(places: Places, **record: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=places.kafka)
    await producer.start()
    await producer.send_and_wait(places.topics[2], **record)
    await producer.stop()


async def in_a_records_value(places: Places, key: str) -> None:
    await _in_a_record(places, value=b'{"keys": ["' + key.encode() + b'"]}')


async def in_a_records_header(places: Places, key: str) -> None:
    await _in_a_record(places, value=b"", headers=[("argus-key", key.encode())])


@pytest.mark.parametrize(
    ("place", "plant"),
    [
        ("kubernetes", in_an_annotation),
        ("kubernetes", in_a_secrets_annotation),
        ("kubernetes", in_an_event),
        ("logs", in_a_log),
        ("redis", in_a_redis_key),
        ("redis", in_a_redis_value),
        ("sql", in_a_text_column),
        ("sql", in_a_jsonb_column),
        ("sql", in_a_bytea_column),
        ("kafka", in_a_records_value),
        ("kafka", in_a_records_header),
    ],
)
async def test_a_key_that_is_planted_is_found(life: Life, place: str, plant: Plant) -> None:
    key = generate(KeyKind.SERVER)
    planted = frozenset({key})
    assert (await search(READERS[place](life.places), planted))[1] == set()
    await plant(life.places, key)

    assert len((await search(READERS[place](life.places), planted))[1]) == 1


async def test_a_key_in_a_label_of_a_metric_is_found(life: Life) -> None:
    key = generate(KeyKind.PUBLIC)
    registry = CollectorRegistry()
    Counter("requests", "By key.", ["key"], registry=registry).labels(key).inc()
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry)
    planted = f"http://127.0.0.1:{port}/metrics"
    places = replace(life.places, metrics=(*life.places.metrics, planted))
    _, found = await search(metrics(places), frozenset({key}))
    server.shutdown()
    server.server_close()
    thread.join()

    assert found == {planted}
