"""Records that no client could send, or that only a bug or a stranger would, in the topic itself.

The stream goes on, each record becomes what it should, and the ledger adds up.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from argus_contract import envelope, headers, ids, sizes, splice
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code
from argus_stream import metrics

from tests.integration.stream.world import DAY, Message, World, event, micros, reject

YEAR_9999: Final = 253_370_764_800_000_000
STORED: Final = "stored"
DUPLICATE: Final = "duplicate"
SKIPPED: Final = "skipped"
OUTCOMES: Final = (STORED, DUPLICATE, SKIPPED)


class Case(NamedTuple):
    """A record, and what must become of it: a reject code, or one of OUTCOMES."""

    message: Message
    outcome: str


Cases = dict[str, Case]


def written(body: str, **changes: object) -> Message:
    """An envelope around this event, with fields of its own as they are given."""
    now = micros()
    identity = ids.new_id(now)
    fields = {"v": 1, "id": f'"{identity}"', "time": now, "received": now} | changes
    whole = ",".join(f'"{name}":{value}' for name, value in fields.items())
    value = f'{{{whole},"event":{body}}}'.encode("utf-8", "surrogatepass")
    return Message(value, [(headers.ID, identity.encode())])


def properties(text: str) -> Message:
    return written(f'{{"event":"e","properties":{text}}}')


def headed(*extra: tuple[str, bytes | None], value: bytes = b"{}") -> Message:
    """A record with an id and these headers."""
    identity = ids.new_id(micros())
    return Message(value, [(headers.ID, identity.encode()), *extra])  # type: ignore[list-item]


def with_headers(*extra: tuple[str, bytes]) -> Message:
    """A good event with these headers besides."""
    message = event()
    return Message(message.value, [*message.headers, *extra])


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def texts() -> Cases:
    return {
        "NUL in a property": Case(properties('{"a":"x\\u0000y"}'), "unstorable"),
        "NUL in a property's name": Case(properties('{"\\u0000":1}'), "unstorable"),
        "NUL in the event's name": Case(written('{"event":"a\\u0000"}'), "unstorable"),
        "NUL in distinct_id": Case(written('{"event":"e","distinct_id":"\\u0000"}'), "unstorable"),
        "NUL in session_id": Case(written('{"event":"e","session_id":"\\u0000"}'), "unstorable"),
        "a backslash before u0000": Case(properties('{"a":"\\\\u0000"}'), STORED),
        "a raw NUL": Case(properties('{"a":"\0"}'), "invalid_json"),
        "a high surrogate": Case(properties('{"a":"\\ud800"}'), "unstorable"),
        "a low surrogate": Case(properties('{"a":"\\udc00"}'), "unstorable"),
        "surrogates in the wrong order": Case(properties('{"a":"\\ude00\\ud83d"}'), "unstorable"),
        "a surrogate in the name": Case(written('{"event":"\\ud800"}'), "unstorable"),
        "a surrogate as UTF-8": Case(properties('{"a":"\ud800"}'), "unstorable"),
        "a pair of surrogates": Case(properties('{"a":"\\ud83d\\ude00"}'), STORED),
        "bytes that are no UTF-8": Case(
            Message(
                (properties('{"a":"é"}').value or b"").replace("é".encode(), b"\xe9"),
                event().headers,
            ),
            "unstorable",
        ),
        "800 kB in a string": Case(properties(f'{{"a":"{"x" * 800_000}"}}'), STORED),
        "800 kB in the event's name": Case(
            written(f'{{"event":"{"x" * 800_000}"}}'), "invalid_event"
        ),
        "800 kB in distinct_id": Case(
            written(f'{{"event":"e","distinct_id":"{"x" * 800_000}"}}'), "invalid_event"
        ),
        "800 kB in a property's name": Case(properties(f'{{"{"x" * 800_000}":1}}'), STORED),
        "an empty event name": Case(written('{"event":""}'), "invalid_event"),
        "no event name": Case(written("{}"), "invalid_event"),
    }


def numbers() -> Cases:
    return {
        "a property of 1e400": Case(properties('{"a":1e400}'), STORED),
        "a property of 1e999999": Case(properties('{"a":1e999999}'), "unstorable"),
        "a property of 1e-999999": Case(properties('{"a":1e-999999}'), "unstorable"),
        "an exponent of 5,000 digits": Case(properties('{"a":1e%s}' % ("9" * 5_000)), "unstorable"),
        "131,072 digits": Case(properties('{"a":%s}' % ("9" * 131_072)), STORED),
        "131,073 digits": Case(properties('{"a":%s}' % ("9" * 131_073)), "unstorable"),
        "16,384 decimals": Case(properties('{"a":0.%s}' % ("1" * 16_384)), "unstorable"),
        "a value of 1e400": Case(written('{"event":"e","value":1e400}'), "invalid_event"),
        "a derived value of 1e400": Case(written('{"event":"e"}', value="1e400"), "invalid_event"),
        "a value of 400 digits": Case(
            written('{"event":"e","value":%s}' % ("9" * 400)), "invalid_event"
        ),
        "a value of -0.0": Case(written('{"event":"e","value":-0.0}'), STORED),
        "a value of 5e-324": Case(written('{"event":"e","value":5e-324}'), STORED),
        "a value of 1e308": Case(written('{"event":"big","value":1e308}'), STORED),
        "a value of 1e308 again": Case(written('{"event":"big","value":1e308}'), STORED),
        "a value of -1e308": Case(written('{"event":"big","value":-1e308}'), STORED),
        "a value in quotes": Case(written('{"event":"e","value":"1"}'), "invalid_event"),
        "NaN": Case(written('{"event":"e","value":NaN}'), "invalid_json"),
        "Infinity": Case(written('{"event":"e","value":-Infinity}'), "invalid_json"),
        "NaN in the properties": Case(properties('{"a":NaN}'), "invalid_json"),
    }


def shapes() -> Cases:
    return {
        "nested 100 deep": Case(properties(nested(100)), STORED),
        "nested 5,000 deep": Case(properties(nested(5_000)), "too_deep"),
        "nested 300,000 deep": Case(properties(nested(300_000)), "too_deep"),
        "objects 5,000 deep": Case(properties('{"a":' * 5_000 + "1" + "}" * 5_000), "too_deep"),
        "deep and cut off": Case(properties("[" * 5_000), "too_deep"),
        "a key twice in the properties": Case(properties('{"a":1,"a":2}'), STORED),
        "a key twice in the event": Case(written('{"event":"a","event":"b"}'), STORED),
        "a field twice in the envelope": Case(
            written('{"event":"e"},"v":1,"event":{"event":"f"}'), STORED
        ),
        "an unknown field": Case(written('{"event":"e","stranger":1}'), STORED),
        "properties that are no object": Case(properties("17"), STORED),
        "no object": Case(headed(value=b"[]"), "invalid_event"),
        "nothing": Case(headed(value=b""), "invalid_json"),
        "a tombstone": Case(Message(None, event().headers, key=b"k"), "invalid_json"),
        "half of it": Case(Message((event().value or b"")[:60], event().headers), "invalid_json"),
        "something after it": Case(
            Message((event().value or b"") + b"{}", event().headers), "invalid_json"
        ),
        "gzip": Case(Message(gzip.compress(event().value or b""), event().headers), "invalid_json"),
        "a version of 5,000 digits": Case(written('{"event":"e"}', v="9" * 5_000), "invalid_event"),
        "version 2": Case(written('{"event":"e"}', v=2), "invalid_event"),
    }


def times() -> Cases:
    return {
        "the year 9999": Case(event(time=YEAR_9999), "too_new"),
        "the year 292,277": Case(event(time=2**63 - 1), "too_new"),
        "2^64 - 1": Case(event(time=2**64 - 1), "too_new"),
        "2^64": Case(event(time=2**64), "too_new"),
        "10^400": Case(event(time=10**400), "too_new"),
        "5,000 digits": Case(written('{"event":"e"}', time="9" * 5_000), "invalid_event"),
        "receipt with 5,000 digits": Case(
            written('{"event":"e"}', received="9" * 5_000), "invalid_event"
        ),
        "61 minutes ahead": Case(event(time=micros() + 3_660_000_000), "too_new"),
        "59 minutes ahead": Case(event(time=micros() + 3_540_000_000), STORED),
        "400 days ago": Case(event(time=micros() - 400 * DAY * 1_000_000), "too_old"),
        "1970": Case(event(time=1), "too_old"),
        "before Christ": Case(event(time=-(2**63)), "too_old"),
        "half a microsecond": Case(written('{"event":"e"}', time="1.5"), "invalid_event"),
        "a time in quotes": Case(written('{"event":"e"}', time='"now"'), "invalid_event"),
        "receipt in 9999": Case(event(received=YEAR_9999), "invalid_event"),
        "receipt before 1970": Case(event(received=-1), "invalid_event"),
    }


def ids_and_keys() -> Cases:
    return {
        "an id that is no UUID": Case(written('{"event":"e"}', id='"me"'), "invalid_event"),
        "an id without dashes": Case(written('{"event":"e"}', id=f'"{"0" * 32}"'), "invalid_event"),
        "an id that is a number": Case(written('{"event":"e"}', id="7"), "invalid_event"),
        "an id with NUL": Case(written('{"event":"e"}', id='"\\u0000"'), "unstorable"),
        "nil": Case(
            written('{"event":"e"}', id=f'"{"-".join(["0" * 8] + ["0" * 4] * 3 + ["0" * 12])}"'),
            STORED,
        ),
        "no headers": Case(Message(event().value, []), SKIPPED),
        "a stranger's headers": Case(Message(event().value, [("trace", b"\xff\x00")]), SKIPPED),
        "an empty id header": Case(Message(event().value, [(headers.ID, b"")]), SKIPPED),
        "an id header that is no UUID, of a bad record": Case(
            Message(b"{}", [(headers.ID, b"\xff\0me")]), SKIPPED
        ),
        "a key of 900 kB": Case(
            Message(event().value, event().headers, key=b"k" * 900_000), STORED
        ),
        "a stranger's key of 900 kB": Case(Message(b"x", [], key=b"k" * 900_000), SKIPPED),
        "two id headers": Case(
            Message(event().value, [(headers.ID, b"one"), *event().headers]), STORED
        ),
    }


def record_headers() -> Cases:
    return {
        "a reject with an unknown code": Case(headed((headers.REJECT, b"bored")), "invalid_event"),
        "a reject with a code of bytes": Case(headed((headers.REJECT, b"\xff\0")), "invalid_event"),
        "a reject without a code": Case(headed((headers.REJECT, b"")), "invalid_event"),
        "a reject with a null code": Case(headed((headers.REJECT, None)), "invalid_event"),
        "a reject with garbage beside it": Case(
            headed(
                (headers.REJECT, b"too_deep"),
                (headers.ERROR, b"\xff\0" * 50_000),
                (headers.EVENT, b"\xff\0" * 500),
                (headers.RECEIVED, b"yesterday"),
                (headers.TRUNCATED, b"-1"),
                (headers.BY_ID, b"\0"),
            ),
            "too_deep",
        ),
        "a reject of 900 kB": Case(
            headed((headers.REJECT, b"invalid_json"), value=b"x" * 900_000), "invalid_json"
        ),
        "a reject without bytes": Case(
            Message(None, [*event().headers, (headers.REJECT, b"invalid_json")], key=b"k"),
            "invalid_json",
        ),
        "2,000 headers": Case(with_headers(*((f"h{n}", b"v") for n in range(2_000))), STORED),
        "a header of 800 kB": Case(with_headers(("h", b"v" * 800_000)), STORED),
        "a letter's own headers": Case(
            with_headers(
                (headers.REASON, b"refused"), (headers.STEP, b"store"), (headers.ROOT, b"x")
            ),
            STORED,
        ),
    }


def replays() -> Cases:
    """Whatever a stranger wrote there, the event is an event."""
    roots = {
        "no key": b"",
        "bytes": b"\xff\0\xff",
        "NUL": b"TOPIC/0/\0",
        "another topic's letter": b"argus.other.topic.00000000/0/0",
        "a number out of bounds": b"TOPIC/0/99999999999999999999999",
        "900 kB": b"x" * 900_000,
        "this topic's letter": b"TOPIC/0/0",
        "a letter that is not there": b"TOPIC/99/123456789",
    }
    attempts = {
        "no attempt": b"",
        "an attempt that is no number": b"two",
        "attempt -1": b"-1",
        "attempt 0": b"0",
        "attempt 10^30": b"1" + b"0" * 30,
        "attempt 2147483648": b"2147483648",
        "attempt 999999999": b"999999999",
        "an attempt in other digits": "٢".encode(),
    }
    return (
        {
            f"a replay of {name}": Case(
                with_headers((headers.REPLAY_OF, root), (headers.ATTEMPT, b"2")), STORED
            )
            for name, root in roots.items()
        }
        | {
            f"a replay with {name}": Case(
                with_headers((headers.REPLAY_OF, b"TOPIC/0/1"), (headers.ATTEMPT, attempt)), STORED
            )
            for name, attempt in attempts.items()
        }
        | {
            "a replay without an attempt": Case(
                with_headers((headers.REPLAY_OF, b"TOPIC/0/1")), STORED
            ),
            "a bad replay of garbage": Case(
                headed((headers.REPLAY_OF, b"\xff\0"), (headers.ATTEMPT, b"\0")), "invalid_event"
            ),
            "a reject of garbage that replays": Case(
                headed((headers.REPLAY_OF, b""), (headers.REJECT, b"too_deep")), "too_deep"
            ),
        }
    )


def addressed(message: Message, pipeline: Pipeline) -> Message:
    """The message, with the name of its topic where it has to name it."""
    topic = pipeline.topic.encode()
    found = [(name, value and value.replace(b"TOPIC", topic)) for name, value in message.headers]
    return Message(message.value, found, message.key)


def troubles() -> Counter[str]:
    """How often pipelines paused, and storing failed for another reason than its data."""
    counted: Counter[str] = Counter()
    for family in (metrics.STORE_FAILURES, metrics.PAUSES):
        for sample in next(iter(family.collect())).samples:
            if sample.name.endswith("_total") and sample.labels.get("kind") != "refused":
                counted[str(sample.labels)] += int(sample.value)
    return counted


async def outcomes(world: World, pipeline: Pipeline) -> dict[int, str]:
    """What became of each offset that is a row or a letter."""
    stored = {row["source_offset"]: STORED for row in await world.rows(pipeline)}
    lettered = {
        int(record.key.rsplit(b"/")[-1]): dict(record.headers)[headers.REASON].decode()
        for record in await world.letters(pipeline)
    }
    assert not stored.keys() & lettered.keys()
    return stored | lettered


@pytest.mark.parametrize(
    "kind", [texts, numbers, shapes, times, ids_and_keys, record_headers, replays]
)
async def test_each_becomes_what_it_should_and_the_stream_goes_on(
    world: World, kind: Callable[[], Cases]
) -> None:
    """Each between two good events, so that whatever it spoils is seen."""
    cases = kind()
    pipeline = await world.add_pipeline("web")
    log = [event()]
    for case in cases.values():
        log += [addressed(case.message, pipeline), event()]
    await world.produce(pipeline, log)
    before = troubles()
    async with world.stream():
        ledger = await world.settled(pipeline, len(log))
        await world.counted(pipeline)
    assert troubles() == before, "no pause, and no failure but refusals"
    found = await outcomes(world, pipeline)
    became = {name: found.get(2 * n + 1, SKIPPED) for n, name in enumerate(cases)}
    assert became == {name: str(case.outcome) for name, case in cases.items()}
    assert all(found[offset] == STORED for offset in range(0, len(log), 2))
    expected = Counter(became.values())
    assert ledger["stored"] == expected[STORED] + len(cases) + 1
    assert ledger["skipped"] == expected[SKIPPED]
    assert ledger["dead_lettered"] == len(cases) - expected[STORED] - expected[SKIPPED]
    await world.check_audit(pipeline)


async def test_what_is_there_twice_is_stored_as_its_last(world: World) -> None:
    """RFC 8259 leaves it open; PostgreSQL takes the last one, and so do we throughout."""
    pipeline = await world.add_pipeline("web")
    await world.produce(
        pipeline,
        [written('{"event":"a","properties":{"k":1,"k":2},"event":"b","value":1,"value":2}')],
    )
    async with world.stream():
        await world.settled(pipeline, 1)
        await world.counted(pipeline)
    (row,) = await world.rows(pipeline)
    assert (row["event"], row["value"], json.loads(row["properties"])) == ("b", 2.0, {"k": 2})


async def test_a_letter_keeps_the_bytes_but_for_those_of_a_monster(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    whole, monster = bytes(range(256)) * 1_000, b"\xff" * 900_000
    await world.produce(pipeline, [reject(Code.INVALID_JSON, value) for value in (whole, monster)])
    async with world.stream():
        await world.settled(pipeline, 2)
    kept, cut = await world.letters(pipeline)
    assert kept.value == whole
    assert headers.get(kept.headers, headers.TRUNCATED) is None
    assert cut.value == monster[: sizes.KEPT_OF_REJECT]
    assert headers.get(cut.headers, headers.TRUNCATED) == b"900000"


@pytest.mark.parametrize("depth", [*range(150, 1_500, 150), 2_000, 3_000, 4_000])
async def test_no_depth_stops_a_partition(world: World, depth: int) -> None:
    """Between what the edge takes and what cannot be decoded, where PostgreSQL's stack may end."""
    pipeline = await world.add_pipeline("web")
    before = troubles()
    await world.produce(pipeline, [event(), properties(nested(depth)), event()])
    async with world.stream():
        await world.settled(pipeline, 3, within=5)
    assert troubles() == before
    assert (await outcomes(world, pipeline))[1] in (STORED, Code.TOO_DEEP)


async def test_more_event_names_than_are_kept_are_counted_as_others(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    names, most = 12_000, 10_000
    await world.produce(pipeline, [event(f"name {n}") for n in range(names)])
    async with world.stream():
        ledger = await world.settled(pipeline, names, within=60)
        await world.counted(pipeline)
    assert ledger["stored"] == names
    rows = Counter(row["event"] for row in await world.rows(pipeline))
    assert len(rows) == most + 1
    assert rows["__other__"] == names - most
    rollup = pipeline.table.replace("events_", "rollup_", 1)
    rolled = await world.sql.fetch(
        f"SELECT event, sum(count)::bigint AS n FROM {pipeline.schema}.{rollup} GROUP BY event"
    )
    assert {row["event"]: row["n"] for row in rolled} == rows
    await world.check_audit(pipeline)


async def test_a_record_larger_than_a_fetch_is_read(world: World) -> None:
    pipeline = await world.add_pipeline("web")
    await allow(world, pipeline, 8 * sizes.MIB)
    large = properties(f'{{"a":"{"x" * 3 * sizes.MIB}"}}')
    strange = Message(b"x" * 3 * sizes.MIB, [])
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap, max_request_size=8 * sizes.MIB)
    await producer.start()
    try:
        for message in (event(), large, event(), strange, event()):
            await producer.send_and_wait(
                pipeline.topic, message.value, headers=message.headers, partition=0
            )
    finally:
        await producer.stop()
    async with world.stream():
        ledger = await world.settled(pipeline, 5)
    assert (ledger["stored"], ledger["skipped"]) == (4, 1)
    await world.check_audit(pipeline)


async def allow(world: World, pipeline: Pipeline, size: int) -> None:
    """Lets the topic take records of this size."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC,
                    pipeline.topic,
                    configs={"max.message.bytes": str(size)},
                )
            ]
        )
    finally:
        await admin.close()


async def test_gaps_of_a_transactional_producer_are_skipped_wherever_they_are(
    world: World,
) -> None:
    """At the log's beginning, between records, committed and aborted, and at its end."""
    pipeline = await world.add_pipeline("web")
    stranger = AIOKafkaProducer(
        bootstrap_servers=world.bootstrap, transactional_id=f"stranger-{pipeline.uid}"
    )
    await stranger.start()
    try:
        for number in range(6):
            await stranger.begin_transaction()
            await stranger.send_and_wait(pipeline.topic, b"stranger", partition=0)
            if number % 2:
                await stranger.abort_transaction()
            else:
                await stranger.commit_transaction()
            if number < 5:
                await world.produce(pipeline, [event()])
    finally:
        await stranger.stop()
    async with world.stream():
        ledger = await world.settled(pipeline, 17)
    assert ledger == Counter(stored=5, duplicate=0, dead_lettered=0, skipped=12, lost=0, offsets=17)
    await world.check_audit(pipeline)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_strangers_compression_is_read(world: World, codec: str) -> None:
    pipeline = await world.add_pipeline("web")
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap, compression_type=codec)
    await producer.start()
    try:
        for message in [event() for _ in range(20)]:
            await producer.send_and_wait(
                pipeline.topic, message.value, headers=message.headers, partition=0
            )
    finally:
        await producer.stop()
    async with world.stream():
        assert (await world.settled(pipeline, 20))["stored"] == 20


async def test_a_poison_record_delays_its_neighbours_by_less_than_two_seconds(
    world: World,
) -> None:
    """Of each kind: found by decoding, by the database in a value, by a constraint."""
    pipeline = await world.add_pipeline("web")
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CHECK (event <> 'poison')")
    slowest = 0.0
    async with world.stream():
        sent = 0
        for poison in (
            event(properties='{"a":"\\u0000"}'),
            event(properties='{"a":1e999999}'),
            event("poison"),
            reject(Code.INVALID_JSON, b"{"),
        ):
            began = time.monotonic()
            before = [event() for _ in range(1_000)]
            after = [event() for _ in range(1_000)]
            await world.produce(pipeline, [*before, poison, *after])
            sent += 2_001
            await world.settled(pipeline, sent)
            slowest = max(slowest, time.monotonic() - began)
    print(f"\n2,001 records with a poison one among them: at most {slowest:.2f} s")
    assert slowest < 2
    ledger = await world.ledger(pipeline)
    assert (ledger["stored"], ledger["dead_lettered"]) == (8_000, 4)


def test_the_envelope_of_these_records_is_the_one_that_ingest_writes() -> None:
    """Else they would be refused for what they are not meant to be wrong in."""
    ours = written('{"event":"e"}').value or b""
    found = envelope.decode(ours)
    assert ours == splice.envelope(found.id, found.time, found.received, b'{"event":"e"}')
