"""Group commit."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from argus_contract.records import Record
from argus_contract.registry import Pipeline
from argus_ingest.budget import Account, Budget
from argus_ingest.errors import BusyError, LogUnavailableError
from argus_ingest.publish import LogError, Publisher
from argus_ingest.route import Bundle

from tests.unit.ingest.helpers import FakeLog, pipeline

LIMIT = 1 << 20
ACCOUNT = Account()


def bundle(where: Pipeline, *values: bytes, key: bytes | None = None) -> Bundle:
    made = Bundle(where)
    made.records = [Record(key, value, []) for value in values]
    made.size = sum(map(len, values))
    return made


async def send(publisher: Publisher, bundles: Collection[Bundle]) -> None:
    await publisher.publish(bundles, ACCOUNT)


@asynccontextmanager
async def publishing(
    log: FakeLog, *, timeout: float = 5.0, in_flight: int = 1, limit: int = LIMIT
) -> AsyncIterator[tuple[Publisher, Budget]]:
    budget = Budget(limit, 0.5)
    publisher = Publisher(log, budget, delivery_timeout=timeout, batches_in_flight=in_flight)
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    try:
        yield publisher, budget
        await publisher.flush()
        assert (budget.used, ACCOUNT.held) == (0, 0)
        assert not publisher._topics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_arrives_in_one_turn_is_one_batch() -> None:
    log = FakeLog()
    async with publishing(log) as (publisher, _):
        await asyncio.gather(
            *(send(publisher, [bundle(pipeline(), b"%d" % n)]) for n in range(100))
        )
    assert [len(records) for _, _, records in log.sent] == [100]
    assert [record.value for record in log.records] == [b"%d" % n for n in range(100)]


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    log = FakeLog()
    log.gate.clear()
    async with publishing(log) as (publisher, _):
        waits = [asyncio.create_task(send(publisher, [bundle(pipeline(), b"0")]))]
        for n in range(1, 50):
            await asyncio.sleep(0)
            waits.append(asyncio.create_task(send(publisher, [bundle(pipeline(), b"%d" % n)])))
        await asyncio.sleep(0.01)
        assert not any(wait.done() for wait in waits)
        log.gate.set()
        await asyncio.gather(*waits)
    assert [len(records) for _, _, records in log.sent] == [1, 49]


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_no_more_batches_than_allowed_are_under_way(in_flight: int) -> None:
    log = FakeLog(room=1)
    async with publishing(log, in_flight=in_flight) as (publisher, _):
        await send(publisher, [bundle(pipeline(), *[b"x"] * 20)])
    assert log.most_under_way == in_flight or in_flight == 2
    assert len(log.sent) == 20


async def test_a_request_larger_than_a_batch_waits_for_all_of_its_batches() -> None:
    log = FakeLog(room=3)
    log.gate.clear()
    async with publishing(log) as (publisher, _):
        wait = asyncio.create_task(send(publisher, [bundle(pipeline(), *[b"x"] * 7)]))
        await asyncio.sleep(0.01)
        assert not wait.done()
        log.gate.set()
        await wait
    assert [len(records) for _, _, records in log.sent] == [3, 3, 1]


async def test_pipelines_and_partitions_go_their_own_ways() -> None:
    log = FakeLog()
    first, second = pipeline("a", partitions=3), pipeline("b")
    async with publishing(log) as (publisher, _):
        await send(
            publisher,
            [bundle(first, b"1", key=b"k"), bundle(first, b"2", key=b"l"), bundle(second, b"3")],
        )
    assert {(topic, partition, records[0].value) for topic, partition, records in log.sent} == {
        (first.topic, ord("k") % 3, b"1"),
        (first.topic, ord("l") % 3, b"2"),
        (second.topic, 0, b"3"),
    }


async def test_records_without_a_key_stay_together_in_a_turn_and_move_on_with_the_next() -> None:
    log = FakeLog()
    where = pipeline(partitions=3)
    log.gate.clear()
    async with publishing(log) as (publisher, _):
        waits = []
        for _ in range(3):
            turn = [send(publisher, [bundle(where, b"x")]) for _ in range(4)]
            waits.append(asyncio.gather(*turn))
            await asyncio.sleep(0.001)
        log.gate.set()
        await asyncio.gather(*waits)
    assert sorted((partition, len(records)) for _, partition, records in log.sent) == [
        (0, 4),
        (1, 4),
        (2, 4),
    ]


async def test_a_failed_batch_fails_its_requests_only() -> None:
    log = FakeLog()
    async with publishing(log) as (publisher, _):
        log.fault = LogError("no leader")
        with pytest.raises(LogUnavailableError) as failed:
            await send(publisher, [bundle(pipeline(), b"x")])
        assert failed.value.retry_after
        log.fault = None
        await send(publisher, [bundle(pipeline(), b"y")])
    assert [record.value for record in log.records] == [b"y"]


async def test_a_log_that_hangs_is_given_up_at_the_deadline_with_all_that_waits_behind_it() -> None:
    log = FakeLog()
    log.gate.clear()
    loop = asyncio.get_running_loop()
    async with publishing(log, timeout=0.3) as (publisher, budget):
        began = loop.time()
        first = asyncio.create_task(send(publisher, [bundle(pipeline(), b"first")]))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(send(publisher, [bundle(pipeline(), b"second")]))
        for wait, after in ((first, 0.3), (second, 0.4)):
            with pytest.raises(LogUnavailableError):
                await wait
            assert after <= loop.time() - began < after + 0.25
        assert budget.used > 0
        log.gate.set()
    assert [record.value for record in log.records] == [b"first"]


async def test_before_a_broker_was_reached_nothing_is_queued() -> None:
    log = FakeLog()
    log.connected_once = False
    async with publishing(log) as (publisher, _):
        with pytest.raises(LogUnavailableError):
            await send(publisher, [bundle(pipeline(), b"x")])


async def test_bytes_are_bounded_and_given_back() -> None:
    log = FakeLog()
    log.gate.clear()
    async with publishing(log, limit=2_000) as (publisher, budget):
        wait = asyncio.create_task(send(publisher, [bundle(pipeline(), b"x" * 800)]))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await send(publisher, [bundle(pipeline(), b"x" * 800)])
        log.gate.set()
        await wait
        await publisher.flush()
        assert budget.used == 0
        await send(publisher, [bundle(pipeline(), b"x" * 800)])


async def test_a_cancelled_request_is_not_sent_if_it_still_waits() -> None:
    log = FakeLog()
    log.gate.clear()
    async with publishing(log) as (publisher, _):
        first = asyncio.create_task(send(publisher, [bundle(pipeline(), b"first")]))
        await asyncio.sleep(0.001)
        second = asyncio.create_task(send(publisher, [bundle(pipeline(), b"second")]))
        await asyncio.sleep(0.001)
        for wait in (first, second):
            wait.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        log.gate.set()
    assert [record.value for record in log.records] == [b"first"]


async def test_cancelled_it_ends_as_cancelled_and_nothing_under_way_is_an_acknowledgement() -> None:
    log = FakeLog()
    log.gate.clear()
    publisher = Publisher(log, Budget(LIMIT, 0.5), delivery_timeout=5.0, batches_in_flight=1)
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    wait = asyncio.create_task(send(publisher, [bundle(pipeline(), b"x")]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(1):
            await task
    assert task.cancelled()
    with pytest.raises(LogUnavailableError):
        await wait
    assert ACCOUNT.held == 0


async def test_a_defect_in_the_log_ends_the_publisher_and_is_no_acknowledgement() -> None:
    class Broken(FakeLog):
        async def send(self, batch: Any, topic: str, partition: int) -> None:
            raise ZeroDivisionError

    publisher = Publisher(Broken(), Budget(LIMIT, 0.5), delivery_timeout=5.0, batches_in_flight=1)
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    wait = asyncio.create_task(send(publisher, [bundle(pipeline(), b"x")]))
    with pytest.raises(ExceptionGroup) as ended:
        await task
    assert ended.group_contains(ZeroDivisionError)
    with pytest.raises(LogUnavailableError):
        await wait
