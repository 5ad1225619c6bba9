"""The adapters keep the contracts that the unit tests' fakes keep."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError
from argus_contract.names import TenantId
from argus_runtime import kafka as runtime_kafka
from argus_runtime.settings import KafkaSettings
from argus_stream import copyrows
from argus_stream.adapters.consumer import KafkaLog
from argus_stream.adapters.offsets import KafkaOffsets
from argus_stream.adapters.producer import KafkaPost
from argus_stream.adapters.redis import RedisCounters
from argus_stream.adapters.timescale import TimescaleLedger, TimescaleStore
from argus_stream.errors import (
    BrokerError,
    LettersError,
    LiveError,
    LogError,
    TableError,
    UnavailableError,
)
from argus_stream.ports import Bounds, LiveWindow, LogEnds, Mail
from argus_stream.service import storing_options
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Record, Route, Source
from redis.asyncio import Redis

from tests.integration.stream.world import World, event
from tests.unit.stream import contracts
from tests.unit.stream.samples import NOW, record


class TestRedisCounters(contracts.CountersContract):
    """Redis."""

    @pytest.fixture
    async def redis(self, redis_url: str) -> AsyncIterator[Redis]:
        made = Redis.from_url(redis_url)
        yield made
        await made.aclose()

    @pytest.fixture
    def counters(self, redis: Redis) -> RedisCounters:
        return RedisCounters(redis, 5)

    async def test_a_server_that_forgot_the_scripts_is_told_again(
        self, counters: RedisCounters, redis: Redis, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=0))
        await redis.script_flush()
        changes = [self.change(tenant, 0, 3), self.change(tenant, 3, 4)]
        assert list(await counters.apply(changes)) == [3, 4]
        await redis.script_flush()
        await counters.replace(self.window(tenant, p0=0))

    async def test_a_window_replaces_all_that_is_there(
        self, counters: RedisCounters, redis: Redis, tenant: TenantId
    ) -> None:
        window = self.window(tenant, p0=1)
        stale, kept = list(window.expiry)[3], next(iter(window.counts))
        await redis.hset(stale, "stale", "1")
        await redis.hset(kept, "stale", "1")
        await counters.replace(window)
        assert not await redis.exists(stale)
        assert await redis.hgetall(kept) == {b"w": b"7", "é".encode(): str(2**40).encode()}
        assert await redis.expiretime(kept) == window.expiry[kept]
        left = [key async for key in redis.scan_iter(f"{{{tenant}}}*", count=1_000)]
        assert len(left) == 2, "no staged key is left behind"

    async def test_a_window_that_was_not_wholly_staged_changes_nothing(
        self,
        counters: RedisCounters,
        redis: Redis,
        tenant: TenantId,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await counters.replace(self.window(tenant, p0=1))
        monkeypatch.setattr("argus_stream.adapters.redis.STAGED_SECONDS", 0)
        later = self.window(tenant, p0=9)
        with pytest.raises(LiveError, match="whole"):
            await counters.replace(later)
        assert list(await counters.fences(list(later.fences))) == [1]

    async def test_a_large_window_is_staged_in_pieces(
        self, counters: RedisCounters, redis: Redis, tenant: TenantId
    ) -> None:
        empty = self.window(tenant, p0=1)
        counts = {key: {f"event {n}": n + 1 for n in range(2_500)} for key in empty.expiry}
        await counters.replace(LiveWindow(empty.fences, counts, empty.expiry))
        assert await redis.hlen(next(iter(counts))) == 2_500

    async def test_a_server_that_is_not_there_is_a_live_error(self, tenant: TenantId) -> None:
        nowhere = Redis.from_url("redis://127.0.0.1:1/0")
        counters = RedisCounters(nowhere, 1)
        with pytest.raises(LiveError):
            await counters.apply([self.change(tenant, 0, 1)])
        with pytest.raises(LiveError):
            await counters.replace(self.window(tenant, p0=1))
        await nowhere.aclose()


class TestTimescaleStore(contracts.StoreContract):
    """PostgreSQL."""

    @pytest.fixture
    async def lease(self, world: World) -> Lease:
        return await self.opened(world, "web")

    @pytest.fixture
    async def other(self, world: World) -> Lease:
        return await self.opened(world, "other")

    @staticmethod
    async def opened(world: World, name: str) -> Lease:
        pipeline = await world.add_pipeline(name)
        await world.sql.execute("SELECT argus.open_partition($1, 0, 0)", pipeline.topic)
        return Lease(Source(pipeline.topic, 0), Route(world.document, pipeline), 0)

    @pytest.fixture
    async def store(self, world: World) -> AsyncIterator[TimescaleStore]:
        made = TimescaleStore(storing_options(world.settings()))
        yield made
        made.discard()

    @pytest.fixture
    def refused(self, lease: Lease) -> Slice:
        """PostgreSQL's COPY refuses the row: jsonb has no NUL."""
        row = copyrows.row(0, bytes(16), NOW, NOW, False, "e", None, None, None, b'"\\u0000"')
        piece = Slice(lease, 0, 1, [row], [record(0)])
        piece.skip_to(4)
        return piece

    async def test_a_terminated_backend_is_unavailable_and_then_replaced(
        self, store: TimescaleStore, lease: Lease, world: World
    ) -> None:
        await store.store([self.piece(lease, 0, 4)])
        await world.sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1",
            world.user,
        )
        await asyncio.sleep(0.1)
        try:
            await store.store([self.piece(lease, 4, 6)])
        except UnavailableError:
            await store.store([self.piece(lease, 4, 6)])


async def test_a_ledger_that_cannot_be_reached_is_unavailable(world: World) -> None:
    options = storing_options(world.settings()) | {"port": 1, "command_timeout": 1}
    ledger = TimescaleLedger(options, 1)
    await ledger.open()
    with pytest.raises(UnavailableError):
        await ledger.open_partition(Source("t", 0), 0)
    await ledger.close()


async def test_a_topic_that_sql_does_not_know_is_a_table_error(world: World) -> None:
    ledger = TimescaleLedger(storing_options(world.settings()), 1)
    await ledger.open()
    with pytest.raises(TableError, match="AR404"):
        await ledger.open_partition(Source("unknown", 0), 0)
    await ledger.close()


def options(world: World) -> dict[str, object]:
    return runtime_kafka.options(KafkaSettings(bootstrap=world.bootstrap), "test")


async def test_offsets_of_logs_are_known_and_missing_topics_are_told_apart(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    await world.produce(pipeline, [event() for _ in range(5)], partition=1)
    here, full, gone = Source(pipeline.topic, 0), Source(pipeline.topic, 1), Source("gone", 0)
    offsets = KafkaOffsets(options(world), "argus.stream", 5)
    await offsets.start()
    try:
        assert await offsets.bounds([here, full, gone]) == {here: Bounds(0, 0), full: Bounds(0, 5)}
        expected = LogEnds({here: 0, full: 5}, frozenset({gone, Source(pipeline.topic, 2)}))
        assert await offsets.ends([here, full, *expected.missing]) == expected
        assert await offsets.ends([here, full]) == LogEnds({here: 0, full: 5}, frozenset())
    finally:
        await offsets.stop()


async def test_brokers_that_are_not_there_are_a_broker_error() -> None:
    nowhere = runtime_kafka.options(KafkaSettings(bootstrap="127.0.0.1:1"), "test")
    offsets = KafkaOffsets(nowhere, "argus.stream", 1)
    with pytest.raises(BrokerError):
        await offsets.start()
    await offsets.stop()


def hundred(topics: Collection[str]) -> Mapping[str, int]:
    """A hundred records of each topic."""
    return dict.fromkeys(topics, 100)


async def fetch_until_it_fails(log: KafkaLog) -> None:
    for _ in range(50):
        await log.fetch(hundred, 0.1)


async def test_a_position_outside_of_the_log_is_a_log_error_that_names_it(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    await world.produce(pipeline, [event()], partition=0)
    log = KafkaLog(options(world))
    await log.start()
    beyond = Source(pipeline.topic, 1)
    try:
        log.assign({Source(pipeline.topic, 0): 0, beyond: 50})
        with pytest.raises(LogError) as error:
            await fetch_until_it_fails(log)
        assert error.value.sources == {beyond}
    finally:
        await log.stop()


async def test_a_paused_partition_is_not_fetched_until_it_is_sought(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    await world.produce(pipeline, [event() for _ in range(10)])
    first, second = Source(pipeline.topic, 0), Source(pipeline.topic, 1)
    log = KafkaLog(options(world))
    await log.start()
    try:
        log.assign({first: None, second: 3})
        fetched = [await log.fetch(hundred, 0.1) for _ in range(5)]
        assert [r.offset for each in fetched for r in each.get(second, ())] == [3, 4]
        assert not any(first in each for each in fetched)
        log.seek(first, 2)
        fetched = [await log.fetch(hundred, 0.1) for _ in range(5)]
        assert [r.offset for each in fetched for r in each.get(first, ())] == [2, 3, 4]
    finally:
        await log.stop()


async def test_what_waits_is_given_at_once_and_not_a_first_record_alone(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=1)
    await world.produce(pipeline, [event() for _ in range(20)])
    here = Source(pipeline.topic, 0)
    log = KafkaLog(options(world))
    await log.start()
    try:
        log.assign({here: 0})
        fetched: Mapping[Source, Sequence[Record]] = {}
        while not fetched:
            fetched = await log.fetch(hundred, 0.1)
        assert [each.offset for each in fetched[here]] == list(range(20))
    finally:
        await log.stop()


async def test_a_log_is_left_while_its_broker_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = await world.add_pipeline("web", partitions=1)
    log = KafkaLog(options(world))
    await log.start()
    failed = asyncio.Event()

    async def fail(*_: object) -> None:
        failed.set()
        raise KafkaConnectionError("gone")

    monkeypatch.setattr(log._consumer._client, "send", fail)
    log.assign({Source(pipeline.topic, 0): 0})
    await failed.wait()
    await asyncio.sleep(0)
    await log.stop()
    assert not any(each.connected() for each in log._consumer._client._conns.values())


async def test_letters_to_a_topic_that_is_not_there_are_a_letters_error(world: World) -> None:
    post = KafkaPost(options(world), 1)
    await post.start()
    try:
        with pytest.raises(LettersError):
            await post.deliver("gone.dead", [Mail(b"k", b"v", [])])
    finally:
        await post.stop()
