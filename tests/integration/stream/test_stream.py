"""The whole way of a record, on real engines."""

import asyncio
import json
from collections import Counter

from aiokafka import AIOKafkaProducer
from argus_contract import headers, ids, splice
from argus_contract.rejects import Code

from tests.integration.stream.world import DAY, Message, World, event, micros, reject, until

ID = "0192f0c1-0000-7000-8000-00000000abcd"


async def test_stores_counts_and_commits_events(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    await world.produce(pipeline, [event("page_view", value=1.5) for _ in range(300)])
    async with world.stream():
        ledger = await world.settled(pipeline, 300)
        assert ledger["stored"] == 300
        await world.counted(pipeline)

        async def committed() -> bool:
            return await world.committed(pipeline) == 150

        await until(committed, 10, "Kafka's commit equal to SQL's offset")
    await world.check_audit(pipeline)


async def test_every_column_is_stored_as_it_was_sent(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    now = micros()
    body = (
        b'{"event":"caf\xc3\xa9 \\u00fc","distinct_id":"d","session_id":"s","value":-2.5e3,'
        b'"properties":{"a":[1,"\\\\u0000"]}}'
    )
    value = b'{"v":1,"id":"%b","time":%d,"received":%d,"event":%b}' % (
        ID.upper().encode(),
        now - 5_000_000,
        now,
        body,
    )
    await world.produce(pipeline, [Message(value, [(headers.ID, ID.encode())])])
    async with world.stream():
        await world.settled(pipeline, 1)
    (row,) = await world.rows(pipeline)
    assert str(row["id"]) == ID
    assert row["event"] == "café ü"
    assert (row["distinct_id"], row["session_id"], row["value"]) == ("d", "s", -2500.0)
    assert json.loads(row["properties"]) == {"a": [1, "\\u0000"]}
    assert round(row["time"].timestamp() * 1e6) == now - 5_000_000
    assert round(row["received_at"].timestamp() * 1e6) == now


async def test_what_was_left_out_is_null(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    now = micros()
    value = splice.envelope(ID, now, now, b'{"event":"bare"}')
    await world.produce(pipeline, [Message(value, [(headers.ID, ID.encode())])])
    async with world.stream():
        ledger = await world.settled(pipeline, 1)
    assert ledger["stored"] == 1
    (row,) = await world.rows(pipeline)
    assert [row[name] for name in ("distinct_id", "session_id", "value", "properties")] == [
        None
    ] * 4


async def test_a_log_of_everything_ends_in_a_balanced_ledger(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    now = micros()
    twice, lettered = event("click", id=ID), ids.new_id(now)
    year_9999 = 253_370_764_800_000_000
    log = [
        event(),
        Message(b"not ours", []),
        twice,
        reject(Code.INVALID_EVENT, b'{"oops":1}', id=lettered, error="no event"),
        Message(b"\xff\xfe", [("foreign", b"1")], key=b"k" * 100_000),
        twice,
        event("late", time=now - 400 * DAY * 1_000_000),
        event("early", time=year_9999),
        event("nul", properties='{"a":"x\\u0000"}'),
        event("half", properties='{"a":"\\ud800"}'),
        event("huge", properties='{"a":1e200000}'),
        event("fine", properties='{"a":1e1000,"b":"\\\\u0000 \\ud83d\\ude00"}'),
        reject(Code.INVALID_EVENT, b'{"oops":1}', id=lettered, error="no event"),
        Message(b'{"v":1', [(headers.ID, ids.new_id(now).encode())]),
        Message(None, [(headers.ID, ids.new_id(now).encode())], key=b"k"),
        Message(b"{}", [(headers.ID, b"no uuid")]),
        event("deep", properties="[" * 5_000 + "]" * 5_000),
        event(),
    ]
    await world.produce(pipeline, log)
    async with world.stream():
        ledger = await world.settled(pipeline, len(log))
        await world.counted(pipeline)
    assert ledger == Counter(
        stored=4, duplicate=2, dead_lettered=9, skipped=3, lost=0, offsets=len(log)
    )
    await world.check_audit(pipeline)
    letters = {record.key: record for record in await world.letters(pipeline)}
    reasons = {
        int(key.rsplit(b"/")[-1]): headers.get(record.headers, headers.REASON)
        for key, record in letters.items()
    }
    assert reasons == {
        3: b"invalid_event",
        6: b"too_old",
        7: b"too_new",
        8: b"unstorable",
        9: b"unstorable",
        10: b"unstorable",
        13: b"invalid_json",
        14: b"invalid_json",
        16: b"too_deep",
    }
    assert all(letters[k].value == log[int(k.rsplit(b"/")[-1])].value for k in letters)


async def test_a_letter_says_where_it_comes_from_and_why(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(
        pipeline, [reject(Code.UNKNOWN_FIELD, b'{"event":"x","nope":1}', id=ID, error="nope")]
    )
    async with world.stream():
        await world.settled(pipeline, 1)
    (letter,) = await world.letters(pipeline)
    assert letter.key == f"{pipeline.topic}/0/0".encode()
    assert letter.value == b'{"event":"x","nope":1}'
    found = dict(letter.headers)
    assert found.pop(headers.TIME).endswith(b"Z")
    assert int(found.pop(headers.RECEIVED)) > 0
    assert found == {
        headers.REASON: b"unknown_field",
        headers.STEP: b"ingest",
        headers.ERROR: b"nope",
        headers.ATTEMPT: b"1",
        headers.SOURCE_TOPIC: pipeline.topic.encode(),
        headers.SOURCE_PARTITION: b"0",
        headers.SOURCE_OFFSET: b"0",
        headers.TENANT: f"{world.namespace}/shop".encode(),
        headers.PIPELINE: b"web",
        headers.ID: ID.encode(),
    }
    (row,) = await world.sql.fetch(
        "SELECT * FROM argus.dead_letters WHERE topic = $1", pipeline.topic
    )
    assert (str(row["id"]), row["code"], row["source_offset"]) == (ID, "unknown_field", 0)


async def test_a_batch_that_the_database_refuses_loses_only_its_poison(world: World) -> None:
    """A constraint stands for whatever the stream cannot foresee that PostgreSQL refuses."""
    pipeline = await world.add_pipeline("web", partitions=2)
    other = await world.add_pipeline("other")
    await world.sql.execute(
        f"ALTER TABLE {pipeline.schema}.{pipeline.table} ADD CHECK (event <> 'poison')"
    )
    log = [event("poison" if number % 97 == 13 else "fine") for number in range(400)]
    poison = sum(number % 97 == 13 for number in range(400))
    await world.produce(pipeline, log)
    await world.produce(other, [event() for _ in range(100)])
    async with world.stream():
        ledger = await world.settled(pipeline, 400)
        assert (await world.settled(other, 100))["stored"] == 100
        await world.counted(pipeline)
    assert ledger["stored"] == 400 - poison
    assert ledger["dead_lettered"] == poison
    letters = await world.letters(pipeline)
    assert {headers.get(x.headers, headers.REASON) for x in letters} == {b"refused"}
    assert {headers.get(x.headers, headers.STEP) for x in letters} == {b"store"}
    assert {headers.get(x.headers, headers.EVENT) for x in letters} == {b"poison"}
    assert b"23514" in (headers.get(letters[0].headers, headers.ERROR) or b"")
    await world.check_audit(pipeline)


async def test_ids_without_a_time_are_stored_once(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    now = micros()
    await world.produce(
        pipeline,
        [event(id=ID, time=now, by_id=True), event(id=ID, time=now + 5_000_000, by_id=True)],
    )
    async with world.stream():
        ledger = await world.settled(pipeline, 2)
    assert (ledger["stored"], ledger["duplicate"]) == (1, 1)
    await world.check_audit(pipeline)


async def test_offsets_without_records_are_skipped_also_at_the_end_of_the_log(
    world: World,
) -> None:
    pipeline = await world.add_pipeline("web")
    await world.produce(pipeline, [event()])
    stranger = AIOKafkaProducer(
        bootstrap_servers=world.bootstrap, transactional_id=f"stranger-{pipeline.uid}"
    )
    await stranger.start()
    try:
        async with stranger.transaction():
            await stranger.send_and_wait(pipeline.topic, b"stranger", partition=0)
    finally:
        await stranger.stop()
    async with world.stream():
        ledger = await world.settled(pipeline, 3)
        assert (ledger["stored"], ledger["skipped"]) == (1, 2)
        await world.produce(pipeline, [event()])
        ledger = await world.settled(pipeline, 4)
    assert (ledger["stored"], ledger["skipped"]) == (2, 2)
    await world.check_audit(pipeline)


async def test_a_strangers_open_transaction_does_not_stop_a_partition(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    stranger = AIOKafkaProducer(
        bootstrap_servers=world.bootstrap, transactional_id=f"stranger-{pipeline.uid}"
    )
    await stranger.start()
    try:
        await stranger.begin_transaction()
        await stranger.send_and_wait(pipeline.topic, b"stranger", partition=0)
        await world.produce(pipeline, [event()])
        async with world.stream():
            ledger = await world.settled(pipeline, 2)
        assert (ledger["stored"], ledger["skipped"]) == (1, 1)
        await stranger.abort_transaction()
    finally:
        await stranger.stop()


async def test_a_new_pipeline_is_picked_up_within_two_seconds_while_others_stream(
    world: World,
) -> None:
    first = await world.add_pipeline("first", partitions=2)
    async with world.stream():
        await world.produce(first, [event()])
        await world.settled(first, 1)

        enough = asyncio.Event()

        async def keep_sending() -> None:
            while not enough.is_set():
                await world.produce(first, [event() for _ in range(20)])
                await asyncio.sleep(0.02)

        sending = asyncio.create_task(keep_sending())
        try:
            second = await world.add_pipeline("second")
            await world.produce(second, [event()])
            before = (await world.ledger(first))["stored"]
            await world.settled(second, 1, within=2)
            await asyncio.sleep(0.5)
            assert (await world.ledger(first))["stored"] > before
        finally:
            enough.set()
            await sending


async def test_a_removed_pipeline_is_dropped_and_the_others_go_on(world: World) -> None:
    gone = await world.add_pipeline("gone")
    kept = await world.add_pipeline("kept")
    async with world.stream() as service:
        await world.produce(gone, [event()])
        await world.settled(gone, 1)
        del world.pipelines["gone"]
        await world.publish()

        async def dropped() -> bool:
            return {source.topic for source in service.held} == {kept.topic}

        await until(dropped, 5, "only the kept pipeline is held")
        await world.produce(gone, [event()])
        await world.produce(kept, [event()])
        await world.settled(kept, 1)
    assert (await world.ledger(gone))["offsets"] == 1


async def test_partitions_that_were_added_are_read(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    async with world.stream() as service:
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1)
        grown = await world.grow(pipeline, 3)

        async def read() -> bool:
            return len(service.held) == 3

        await until(read, 10, "all three partitions are held")
        await world.produce(grown, [event() for _ in range(30)])
        ledger = await world.settled(grown, 31)
    assert ledger["stored"] == 31
