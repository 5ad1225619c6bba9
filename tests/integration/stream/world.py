"""One test's world: a tenant and its pipelines in SQL, their topics, a registry, a stream."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import ConsumerRecord
from argus_contract import headers, ids, names, redis_keys, registry, splice
from argus_contract.headers import Header
from argus_contract.registry import Bucket, Limits, Marker, Pipeline, TenantDocument
from argus_contract.rejects import Code
from argus_runtime.settings import DatabaseSettings, KafkaSettings, OpsSettings, RedisSettings
from argus_stream.service import Service
from argus_stream.settings import BatchSettings, MembershipSettings, StoreSettings, StreamSettings
from pydantic import SecretStr
from redis.asyncio import Redis

DAY = 86_400
_CRC = slice(17, 21)
"""Where a record batch of version 2 has the checksum of all that follows."""
LIMITS = Limits(per_key=Bucket(5000, 10000), per_ip=Bucket(50, 100))
PASSWORD = "argus-test"


def micros() -> int:
    """Now, in microseconds since the epoch."""
    return time.time_ns() // 1000


def new_uid() -> str:
    """A resource's uid."""
    return f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"


class Database(NamedTuple):
    """A database, as its owner's URL, and the user that streams."""

    url: str
    user: str


class Message:
    """A record to produce."""

    def __init__(
        self, value: bytes | None, record_headers: Sequence[Header], key: bytes | None = None
    ) -> None:
        self.value = value
        self.headers = list(record_headers)
        self.key = key


def event(
    name: str = "page_view",
    *,
    id: str | None = None,
    time: int | None = None,
    received: int | None = None,
    properties: str = '{"url":"/"}',
    value: float | None = None,
    by_id: bool = False,
) -> Message:
    """An event as ingest writes it."""
    now = micros()
    identity = id or ids.new_id(now)
    body = f'{{"event":{msgspec.json.encode(name).decode()},"properties":{properties}}}'.encode()
    wrapped = splice.envelope(identity, time or now, received or now, body, value)
    marks = [(headers.BY_ID, b"1")] if by_id else []
    return Message(wrapped, [(headers.ID, identity.encode()), *marks])


def reject(code: Code, value: bytes, *, id: str | None = None, error: str = "why") -> Message:
    """A reject as ingest writes it."""
    now = micros()
    identity = id or ids.new_id(now)
    return Message(
        value,
        [
            (headers.ID, identity.encode()),
            (headers.REJECT, code.encode()),
            (headers.RECEIVED, str(now).encode()),
            (headers.ERROR, error.encode()),
        ],
    )


class World:
    """Engines, with one tenant of the test's own."""

    def __init__(self, bootstrap: str, redis: Redis, redis_url: str, database: Database) -> None:
        self.bootstrap = bootstrap
        self.redis = redis
        self.redis_url = redis_url
        self.database = database.url
        self.user = database.user
        self.uid = new_uid()
        self.namespace = f"ns{secrets.token_hex(3)}"
        self.tenant = names.tenant_id(self.namespace, "shop", self.uid)
        self.schema = names.schema(self.namespace, "shop", self.uid)
        self.registry_topic = f"registry-{secrets.token_hex(4)}"
        self.pipelines: dict[str, Pipeline] = {}
        self.revision = 0
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._topics: list[str] = []

    @property
    def sql(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Connections with the rights of the database's owner."""
        assert self._pool is not None
        return self._pool

    async def start(self) -> None:
        """Makes the tenant and its registry."""
        self._pool = await asyncpg.create_pool(self.database, min_size=1, max_size=3)
        await self.producer.start()
        await self.create_topic(self.registry_topic, 1, {"cleanup.policy": "compact"})
        await self.sql.execute(
            "SELECT argus.ensure_tenant($1, $2, 'shop', $3)",
            self.tenant,
            self.namespace,
            self.schema,
        )

    async def stop(self) -> None:
        """Removes what was made outside of the database."""
        await self.producer.stop()
        keys = [key async for key in self.redis.scan_iter(f"{{{self.tenant}}}*", count=1000)]
        if keys:
            await self.redis.unlink(*keys)
        await self.sql.execute("SELECT argus.drop_tenant($1)", self.tenant)
        await self.sql.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics(self._topics)
        finally:
            await admin.close()

    async def create_topic(self, name: str, partitions: int, configs: dict[str, str]) -> None:
        """A topic that is removed with the world."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        finally:
            await admin.close()
        self._topics.append(name)

    async def add_pipeline(
        self,
        name: str,
        partitions: int = 1,
        window: int = 7 * DAY,
        letters: names.TopicName | None = None,
    ) -> Pipeline:
        """A pipeline as the operator makes it: SQL, topics, then the registry.

        `letters` is where its dead letters go, if not where ARGUS would put them.
        """
        uid = new_uid()
        topic = names.topic(self.namespace, name, uid)
        pipeline = Pipeline(
            uid=uid,
            name=name,
            topic=topic,
            dead_letter_topic=letters or names.dead_letter_topic(topic),
            partitions=partitions,
            schema=self.schema,
            table=names.table(name),
            window=window,
            dedupe_window=DAY,
            retention_bytes=1 << 30,
            retention_seconds=DAY,
        )
        await self.sql.execute(
            "SELECT argus.ensure_pipeline($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self.tenant,
            uid,
            name,
            topic,
            pipeline.dead_letter_topic,
            partitions,
            timedelta(days=1),
            timedelta(seconds=window + DAY),
            timedelta(seconds=DAY),
        )
        await self.create_topic(topic, partitions, {})
        await self.create_topic(pipeline.dead_letter_topic, 1, {})
        self.pipelines[name] = pipeline
        await self.publish()
        return pipeline

    async def grow(self, pipeline: Pipeline, partitions: int) -> Pipeline:
        """Adds partitions, as the operator does: Kafka, SQL, registry."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({pipeline.topic: NewPartitions(partitions)})
        finally:
            await admin.close()
        grown = msgspec.structs.replace(pipeline, partitions=partitions)
        self.pipelines[pipeline.name] = grown
        await self.publish()
        await self.producer.client.force_metadata_update()
        return grown

    @property
    def document(self) -> TenantDocument:
        """The tenant as the registry has it."""
        return TenantDocument(
            self.tenant,
            self.namespace,
            "shop",
            self.revision,
            LIMITS,
            pipelines=tuple(self.pipelines.values()),
        )

    @staticmethod
    def nowhere() -> RedisSettings:
        """A Redis that is not there."""
        return RedisSettings(url="redis://127.0.0.1:1/0", timeout=0.2)

    async def publish(self) -> None:
        """Writes the registry as it should be now."""
        self.revision += 1
        topic = self.registry_topic
        await self.producer.send_and_wait(
            topic, registry.encode(self.document), key=self.tenant.encode()
        )
        marker = registry.encode(Marker(self.revision, 1))
        await self.producer.send_and_wait(topic, marker, key=registry.MARKER_KEY.encode())

    async def produce(
        self, pipeline: Pipeline, messages: Sequence[Message], partition: int | None = None
    ) -> None:
        """Writes records, acknowledged when this returns; spread over partitions if None."""
        futures = [
            await self.producer.send(
                pipeline.topic,
                message.value,
                key=message.key,
                partition=number % pipeline.partitions if partition is None else partition,
                headers=message.headers,
            )
            for number, message in enumerate(messages)
        ]
        await asyncio.gather(*futures)

    async def produce_unreadable(self, pipeline: Pipeline) -> None:
        """Writes a batch whose checksum is right and whose header's name is not UTF-8."""
        batch = self.producer.create_batch()
        batch.append(key=None, value=b"x", timestamp=None, headers=[("strange", b"")])
        batch.close()
        data = bytearray(bytes(batch._build()).replace(b"strange", b"\xff" * len(b"strange")))
        data[_CRC] = calc_crc32c(memoryview(data)[_CRC.stop :]).to_bytes(4, "big")
        batch._buffer = data
        await (await self.producer.send_batch(batch, pipeline.topic, partition=0))

    def settings(self, **changes: Any) -> StreamSettings:
        """Settings of a stream for this world, quick to notice."""
        database = urlsplit(self.database)
        values: dict[str, Any] = {
            "kafka": KafkaSettings(bootstrap=self.bootstrap, request_timeout=10),
            "redis": RedisSettings(url=self.redis_url),
            "database": DatabaseSettings(
                host=database.hostname or "",
                port=database.port or 0,
                name=database.path.removeprefix("/"),
                user=self.user,
                password=SecretStr(PASSWORD),
            ),
            "ops": OpsSettings(host="127.0.0.1", port=0),
            "registry_topic": self.registry_topic,
            "membership": MembershipSettings(interval=0.2, ttl=2.0),
            "batch": BatchSettings(linger=0.02),
            "store": StoreSettings(first_delay=0.05, most_delay=1.0, lock_timeout=0.5),
        }
        return StreamSettings(**(values | changes))

    @asynccontextmanager
    async def stream(self, settings: StreamSettings | None = None) -> AsyncIterator[Service]:
        """A stream in this process, ended as SIGTERM ends it; its death fails the test."""
        service = Service(settings or self.settings())
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            yield service
        finally:
            stop.set()
            await running

    async def killed(self, after: float) -> None:
        """Runs a stream and cancels it in the middle of whatever it does."""
        running = asyncio.create_task(Service(self.settings()).stream(asyncio.Event()))
        await asyncio.sleep(after)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def ledger(self, pipeline: Pipeline) -> Counter[str]:
        """The ledger's terms, summed over partitions."""
        rows = await self.sql.fetch(
            "SELECT stored, duplicate, dead_lettered, skipped, lost, "
            "next_offset - first_offset AS offsets FROM argus.ledger WHERE topic = $1",
            pipeline.topic,
        )
        total: Counter[str] = Counter()
        for row in rows:
            total.update(dict(row))
        return total

    async def settled(self, pipeline: Pipeline, offsets: int, within: float = 20) -> Counter[str]:
        """The ledger once it accounts for this many offsets."""

        async def complete() -> bool:
            return (await self.ledger(pipeline))["offsets"] >= offsets

        await until(complete, within, f"{offsets} offsets of {pipeline.topic} in the ledger")
        return await self.ledger(pipeline)

    async def check_audit(self, pipeline: Pipeline) -> None:
        """Ledger and audit, as people see them, have nothing open and nothing unexplained."""
        row = await self.sql.fetchrow(
            "SELECT * FROM argus.audit WHERE namespace = $1 AND pipeline = $2",
            self.namespace,
            pipeline.name,
        )
        assert row is not None
        assert row["balanced"], dict(row)

        async def read_to_its_end() -> bool:
            ledgers = await self.sql.fetch(
                "SELECT in_flight, skipped, balanced FROM argus.ledger WHERE topic = $1",
                pipeline.topic,
            )
            return all(
                each["in_flight"] == 0 and each["balanced"] == (each["skipped"] == 0)
                for each in ledgers
            )

        await until(read_to_its_end, 3, "a ledger that is balanced, log ends being samples")

    async def rows(self, pipeline: Pipeline) -> list[asyncpg.Record]:
        """All rows of the hypertable."""
        return await self.sql.fetch(
            f"SELECT * FROM {pipeline.schema}.{pipeline.table} "
            "ORDER BY source_partition, source_offset"
        )

    async def letters(self, pipeline: Pipeline) -> list[ConsumerRecord]:
        """The dead-letter topic from its beginning to its end."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        partition = TopicPartition(pipeline.dead_letter_topic, 0)
        await consumer.start()
        try:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            consumer.seek(partition, 0)
            found: list[ConsumerRecord] = []
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(partition, timeout_ms=200)).get(partition, [])
            return found
        finally:
            await consumer.stop()

    async def live(self, pipeline: Pipeline) -> Counter[str]:
        """The live window of Redis by event."""
        pattern = redis_keys.live(self.tenant, pipeline.name, 0).removesuffix("0") + "*"
        total: Counter[str] = Counter()
        async for key in self.redis.scan_iter(pattern, count=10_000):
            for name, count in (await self.redis.hgetall(key)).items():
                total[cast("bytes", name).decode()] += int(count)
        return total

    async def counted(self, pipeline: Pipeline, within: float = 15) -> None:
        """Returns once the live window agrees with the rows."""
        expected = Counter(row["event"] for row in await self.rows(pipeline))

        async def agrees() -> bool:
            return await self.live(pipeline) == expected

        await until(agrees, within, f"live counters that equal {expected}")

    async def committed(self, pipeline: Pipeline, partition: int = 0) -> int | None:
        """What Kafka's group says was read."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=names.STREAM_GROUP, enable_auto_commit=False
        )
        await consumer.start()
        try:
            found: int | None = await consumer.committed(TopicPartition(pipeline.topic, partition))
            return found
        finally:
            await consumer.stop()


async def until(
    condition: Callable[[], Awaitable[bool]], within: float, what: str, every: float = 0.05
) -> None:
    """Returns once the condition holds; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(every)
