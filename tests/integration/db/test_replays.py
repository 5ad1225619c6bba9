"""Replays settle with the batch that they are in, once for every letter, whatever the order."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.db.support import (
    DOES_NOT_ADD_UP,
    FENCE,
    Event,
    Pipeline,
    Slice,
    audit,
    count,
    ensure,
    nothing_happened,
    refused,
    sibling,
    stage,
    store,
    store_staged,
)


def root(pipeline: Pipeline, offset: int, partition: int = 1) -> str:
    """The key of a letter of the pipeline, from long ago."""
    return f"{pipeline.topic}/{partition}/{offset}"


async def settled(admin: asyncpg.Connection, pipeline: Pipeline) -> dict[str, tuple[object, ...]]:
    """Attempt, outcome, partition and offset by root."""
    rows = await admin.fetch(
        "SELECT root, attempt, outcome, partition, source_offset FROM argus.replays"
        " WHERE topic = $1",
        pipeline.topic,
    )
    return {row["root"]: tuple(row)[1:] for row in rows}


async def test_a_replayed_row_is_stored_or_a_duplicate(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    known, plain, by_id = Event(), Event(), Event(by_id=True)
    await store(stream, Slice(pipeline.topic, 0, 0, [known, by_id]))
    events = [Event(), known, plain, plain, by_id, Event(by_id=True), Event()]
    replays = {index: (root(pipeline, index), 2) for index in range(6)}
    [outcome] = await store(stream, Slice(pipeline.topic, 2, 0, events, replays=replays))
    assert (outcome.stored, outcome.duplicate) == (4, 3)
    outcomes = ["stored", "duplicate", "stored", "duplicate", "duplicate", "stored"]
    assert await settled(admin, pipeline) == {
        root(pipeline, offset): (2, outcome, 2, offset) for offset, outcome in enumerate(outcomes)
    }
    assert (await audit(admin, pipeline))["balanced"]


async def test_replays_of_several_pipelines_settle_in_one_call(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    other = sibling(pipeline, "api")
    await ensure(admin, other)
    shared = Event()
    await store(
        stream,
        Slice(pipeline.topic, 3, 0, [Event(), shared], replays={1: (root(pipeline, 8), 3)}),
        Slice(other.topic, 0, 0, [shared, shared], replays={1: (root(other, 8), 2)}),
        Slice(pipeline.topic, 0, 0, [shared], replays={0: (root(pipeline, 9), 2)}),
    )
    assert await settled(admin, pipeline) == {
        root(pipeline, 8): (3, "stored", 3, 1),
        root(pipeline, 9): (2, "duplicate", 0, 0),
    }
    assert await settled(admin, other) == {root(other, 8): (2, "duplicate", 0, 1)}


async def test_a_replay_that_is_refused_again_settles_with_its_letter(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    again = {"id": str(uuid4()), "code": "too_old", "step": "decode"}
    await store(
        stream,
        Slice(
            pipeline.topic,
            0,
            0,
            [Event()],
            [{**again, "root": root(pipeline, 7), "attempt": 2}, {"id": None, "code": "refused"}],
        ),
    )
    assert await settled(admin, pipeline) == {root(pipeline, 7): (2, "dead_lettered", 0, 1)}
    letters = await admin.fetch(
        "SELECT code, step, root, attempt FROM argus.dead_letters WHERE topic = $1"
        " ORDER BY source_offset",
        pipeline.topic,
    )
    assert [tuple(letter) for letter in letters] == [
        ("too_old", "decode", root(pipeline, 7), 2),
        ("refused", None, None, 1),
    ]


async def test_replays_settle_with_the_batch_or_not_at_all(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    part = Slice(
        pipeline.topic,
        0,
        0,
        [Event()],
        [{"id": None, "code": "too_old", "root": root(pipeline, 7), "attempt": 2}],
        replays={0: (root(pipeline, 8), 2)},
    )
    zombie = Slice(pipeline.topic, 1, 5, [Event()])
    assert (await refused(store(stream, part, zombie))).sqlstate == FENCE
    await nothing_happened(admin, pipeline)

    transaction = stream.transaction()
    await transaction.start()
    await stream.execute("SELECT argus.create_staging()")
    [outcome] = await store(stream, part)
    assert outcome.stored == 1
    await transaction.rollback()
    await nothing_happened(admin, pipeline)

    await stream.execute("SELECT argus.create_staging()")
    await store(stream, part)
    assert len(await settled(admin, pipeline)) == 2


@pytest.mark.parametrize(
    ("tries", "attempt", "outcome"),
    [
        ("letter/2", 2, "dead_lettered"),
        ("letter/2 letter/3", 3, "dead_lettered"),
        ("letter/3 letter/2", 3, "dead_lettered"),
        ("letter/2 letter/2", 2, "dead_lettered"),
        ("letter/2 row/3", 3, "stored"),
        ("letter/3 row/2", 2, "stored"),
        ("row/2 row/2", 2, "stored"),
        ("row/2 row/3 letter/4", 2, "stored"),
    ],
)
@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
async def test_what_was_stored_stays_so_and_else_the_last_attempt_counts(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    tries: str,
    attempt: int,
    outcome: str,
    at_once: bool,
) -> None:
    """At once: copies of a replay in several partitions are in one batch."""
    event, key = Event(), root(pipeline, 7)
    parts = []
    for partition, (kind, n) in enumerate(one.split("/") for one in tries.split()):
        part = Slice(pipeline.topic, partition, 0)
        letter = {"id": None, "code": "too_old", "root": key, "attempt": int(n)}
        row = replace(part, events=[event], replays={0: (key, int(n))})
        parts.append(row if kind == "row" else replace(part, letters=[letter]))
    for batch in [parts] if at_once else [[part] for part in parts]:
        await store(stream, *batch)
    assert (await settled(admin, pipeline))[key][:2] == (attempt, outcome)


async def known(stream: asyncpg.Connection, asked: list[tuple[str | None, int | None]]) -> set[str]:
    rows = await stream.fetch(
        "SELECT argus.settled_replays($1, $2) AS root",
        [key for key, _ in asked],
        [attempt for _, attempt in asked],
    )
    assert len(rows) == len({row["root"] for row in rows})
    return {row["root"] for row in rows}


async def test_a_root_is_known_at_its_attempt_and_once_stored_at_any(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    failed, stored, duplicate = (root(pipeline, offset) for offset in (7, 8, 9))
    event = Event()
    await store(
        stream,
        Slice(
            pipeline.topic,
            0,
            0,
            [event, event],
            [{"id": None, "code": "too_old", "root": failed, "attempt": 3}],
            replays={0: (stored, 2), 1: (duplicate, 2)},
        ),
    )
    assert await known(stream, [(failed, 2)]) == {failed}
    assert await known(stream, [(failed, 3)]) == {failed}
    assert await known(stream, [(failed, 4)]) == set()
    assert await known(stream, [(failed, 4), (stored, 9), (duplicate, 9)]) == {stored, duplicate}
    assert await known(stream, [(failed, 3), (failed, 4)]) == set(), "one of them is still to come"
    assert await known(stream, [(None, 1), (failed, None), ("no/such/root", 1)]) == set()
    assert await known(stream, []) == set()


@pytest.mark.parametrize(
    "replay",
    [
        {"root": "{topic}/1/x"},
        {"root": "{topic}/1"},
        {"root": "{topic}/1/2/3"},
        {"root": "{topic}2/1/2"},
        {"root": "{topic}/1/2\n"},
        {"root": "another.topic/1/2"},
        {"root": "{topic}/" + "1" * 5_000 + "/2"},
        {"root": ""},
        {"root": None},
        {"attempt": 0},
        {"attempt": -1},
        {"attempt": None},
        {"attempt": 10**12},
        {"attempt": "two"},
        {"attempt": 2.5},
        {"slice": 2},
        {"slice": None},
        {"slice": 0},
        {"offset": 1},
        {"offset": 2},
        {"offset": 10**30},
        {"offset": None},
    ],
    ids=lambda replay: json.dumps(replay)[:30],
)
async def test_a_replay_that_is_none_is_refused_as_the_callers_mistake(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline, replay: Any
) -> None:
    """Never as bad data: nothing that the stream could bisect is to blame."""
    given = {"slice": 1, "offset": 0, "root": root(pipeline, 7), "attempt": 2, **replay}
    if isinstance(given["root"], str):
        given["root"] = given["root"].replace("{topic}", pipeline.topic)
    letter = {"id": None, "code": "too_old"}
    await stage(stream, [Slice(pipeline.topic, 0, 0, [Event()], [letter])])
    call = store_raw(stream, pipeline, [{"slice": 1, "offset": 1, **letter}], [given])
    assert (await refused(call)).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


@pytest.mark.parametrize("replays", [{}, "x", 7, [1], [[]], ["x"], {"root": "x"}])
async def test_replays_of_no_such_shape_are_refused_likewise(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline, replays: Any
) -> None:
    await stage(stream, [Slice(pipeline.topic, 0, 0, [Event()])])
    call = store_raw(stream, pipeline, [], replays, end=1)
    assert (await refused(call)).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_two_replays_of_one_row_are_refused(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await stage(stream, [Slice(pipeline.topic, 0, 0, [Event()])])
    twice = [
        {"slice": 1, "offset": 0, "root": root(pipeline, offset), "attempt": 2} for offset in (1, 2)
    ]
    call = store_raw(stream, pipeline, [], twice, end=1)
    assert (await refused(call)).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_no_replays_may_be_said_as_null(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await stage(stream, [Slice(pipeline.topic, 0, 0, [Event()])])
    await store_raw(stream, pipeline, None, None, end=1)
    assert await count(admin, pipeline.events) == 1
    assert await settled(admin, pipeline) == {}


async def store_raw(
    stream: asyncpg.Connection, pipeline: Pipeline, letters: Any, replays: Any, end: int = 2
) -> None:
    await stream.fetch(
        "SELECT * FROM argus.store($1, '{0}', '{0}', $2, '{0}', '{0}', '{0}', $3, $4)",
        [pipeline.topic],
        [end],
        None if letters is None else json.dumps(letters),
        None if replays is None else json.dumps(replays),
    )


async def test_the_id_of_the_first_letter_does_not_keep_its_replay_from_being_stored(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event(by_id=True, received_at=Event().time)
    letter = {"id": str(event.id), "code": "too_new"}
    await store(stream, Slice(pipeline.topic, 0, 0, letters=[letter]))
    key = root(pipeline, 0, partition=0)
    late = replace(event, time=event.time + timedelta(minutes=1))
    [outcome] = await store(stream, Slice(pipeline.topic, 0, 1, [late], replays={0: (key, 2)}))
    assert outcome.stored == 1
    assert await settled(admin, pipeline) == {key: (2, "stored", 0, 1)}
    assert await admin.fetchval(f"SELECT id FROM {pipeline.events}") == UUID(str(event.id))


async def test_a_batch_of_replays_settles_whole(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    events = [Event(by_id=n % 2 == 0, time=Event().time - timedelta(hours=n)) for n in range(500)]
    replays = {n: (root(pipeline, n), 2) for n in range(500)}
    await stage(stream, [Slice(pipeline.topic, 0, 0, events)])
    [outcome] = await store_staged(stream, [Slice(pipeline.topic, 0, 0, events, replays=replays)])
    assert outcome.stored == 500
    found = (await settled(admin, pipeline)).values()
    assert [one[1] for one in found] == ["stored"] * 500
