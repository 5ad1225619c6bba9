"""The storing function: what one call does, and what it refuses."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.db.support import (
    DOES_NOT_ADD_UP,
    FENCE,
    Connect,
    Event,
    Pipeline,
    Slice,
    audit,
    count,
    ensure,
    ledger,
    new_pipeline,
    nothing_happened,
    now,
    refused,
    sibling,
    stage,
    store,
    store_staged,
)


async def test_a_batch_becomes_rows_with_their_source(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event(event="signup", value=2.5, session_id="s", properties='{"plan": "pro"}')
    [outcome] = await store(stream, Slice(pipeline.topic, 2, 0, [event]))
    second = str(int(event.received_at.timestamp()))
    assert (outcome.stored, outcome.duplicate) == (1, 0)
    assert outcome.deltas == {second: {"signup": 1}}
    row = await admin.fetchrow(f"SELECT * FROM {pipeline.events}")
    assert row is not None
    assert dict(row) == {
        "time": event.time,
        "id": event.id,
        "received_at": event.received_at,
        "value": 2.5,
        "source_offset": 0,
        "source_partition": 2,
        "event": "signup",
        "distinct_id": "visitor-1",
        "session_id": "s",
        "original_event": None,
        "properties": '{"plan": "pro"}',
    }


async def test_the_call_moves_the_partition_and_empties_the_staging(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()]))
    [second] = await store(stream, Slice(pipeline.topic, 0, 2, [Event()]))
    assert second.stored == 1
    row = await ledger(admin, pipeline)
    assert (row["next_offset"], row["stored"], row["balanced"]) == (3, 3, True)


async def test_a_large_batch_empties_the_staging_too(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    padding = json.dumps({"text": "x" * 1500})
    events = [Event(properties=padding) for _ in range(1000)]
    for start in (0, 1000):
        fresh = [replace(event, id=uuid4()) for event in events]
        [outcome] = await store(stream, Slice(pipeline.topic, 0, start, fresh))
        assert outcome.stored == 1000


async def test_every_term_of_the_ledger_is_counted(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event()
    letters: list[dict[str, Any]] = [
        {"id": str(uuid4()), "code": "too_old", "event": "signup"},
        {"id": None, "code": "invalid_json", "event": None},
    ]
    [outcome] = await store(
        stream,
        Slice(
            pipeline.topic, 0, 0, [event, event], letters, skipped=3, lost=4, duplicate_letters=5
        ),
    )
    assert (outcome.stored, outcome.duplicate) == (1, 6)
    row = await ledger(admin, pipeline)
    terms = ("stored", "duplicate", "dead_lettered", "skipped", "lost", "next_offset", "in_flight")
    assert [row[term] for term in terms] == [1, 6, 2, 3, 4, 16, 0]
    assert not row["balanced"], "skipped and lost must show"
    recorded = await admin.fetch(
        "SELECT source_offset, id, code, event FROM argus.dead_letters WHERE topic = $1"
        " ORDER BY source_offset",
        pipeline.topic,
    )
    assert [(r["source_offset"], r["code"], r["event"]) for r in recorded] == [
        (2, "too_old", "signup"),
        (3, "invalid_json", None),
    ]
    assert (await audit(admin, pipeline))["balanced"]


async def test_a_range_that_was_stored_cannot_be_stored_again(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    part = Slice(pipeline.topic, 0, 0, [Event(), Event()])
    await store(stream, part)
    error = await refused(store(stream, part))
    assert error.sqlstate == FENCE
    assert json.loads(str(error.as_dict()["detail"])) == {
        "topic": pipeline.topic,
        "partition": 0,
        "expected": 0,
        "found": 2,
    }
    assert await count(admin, pipeline.events) == 2
    assert (await ledger(admin, pipeline))["stored"] == 2


async def test_a_partition_that_was_never_opened_is_fenced(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    error = await refused(store(stream, Slice(pipeline.topic, 9, 0, [Event()])))
    assert error.sqlstate == FENCE


async def test_after_a_failure_the_staging_is_made_anew(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await refused(store(stream, Slice(pipeline.topic, 0, 7, [Event()])))
    await stream.execute("SELECT argus.create_staging()")
    [outcome] = await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    assert outcome.stored == 1


async def test_the_same_event_is_stored_once_within_a_batch(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event(value=1.0)
    [outcome] = await store(stream, Slice(pipeline.topic, 0, 0, [event, Event(), event, event]))
    assert (outcome.stored, outcome.duplicate) == (2, 2)
    assert await admin.fetchval(f"SELECT sum(count) FROM {pipeline.rollup}") == 2
    kept = await admin.fetchval(
        f"SELECT source_offset FROM {pipeline.events} WHERE id = $1", event.id
    )
    assert kept == 0, "the first copy is the one that stays"


async def test_the_same_event_is_stored_once_across_batches_and_partitions(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    events = [Event() for _ in range(5)]
    await store(stream, Slice(pipeline.topic, 0, 0, events))
    outcomes = await store(
        stream,
        Slice(pipeline.topic, 0, 5, [*events, Event()]),
        Slice(pipeline.topic, 1, 0, events[:2]),
    )
    assert [(o.stored, o.duplicate) for o in outcomes] == [(1, 5), (0, 2)]
    assert outcomes[1].deltas == {}
    assert await count(admin, pipeline.events) == 6
    assert (await audit(admin, pipeline))["balanced"]


async def test_the_same_id_at_another_time_is_another_event(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event()
    later = replace(event, time=event.time + timedelta(milliseconds=1))
    [outcome] = await store(stream, Slice(pipeline.topic, 0, 0, [event, later]))
    assert outcome.stored == 2


async def test_an_id_alone_decides_where_the_client_gave_no_time(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    first = Event(by_id=True)
    again = replace(first, time=first.time + timedelta(minutes=5))
    again = replace(again, received_at=again.time)
    [outcome] = await store(stream, Slice(pipeline.topic, 0, 0, [first, again, Event(by_id=True)]))
    assert (outcome.stored, outcome.duplicate) == (2, 1)
    [outcome] = await store(stream, Slice(pipeline.topic, 1, 0, [again, Event()]))
    assert (outcome.stored, outcome.duplicate) == (1, 1)
    assert await admin.fetchval(f"SELECT time FROM {pipeline.events} WHERE id = $1", first.id) == (
        first.time
    )
    assert (await audit(admin, pipeline))["balanced"]


async def test_an_id_is_forgotten_after_the_dedupe_window(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    first = Event(by_id=True, received_at=now() - pipeline.dedupe_window - timedelta(hours=1))
    inside = replace(first, time=now(), received_at=first.received_at + timedelta(hours=23))
    outside = replace(first, time=now(), received_at=now())
    outcomes = [
        (await store(stream, Slice(pipeline.topic, 0, offset, [event])))[0]
        for offset, event in enumerate([first, inside, outside, outside])
    ]
    assert [outcome.stored for outcome in outcomes] == [1, 0, 1, 0]


async def test_rows_of_an_earlier_life_of_the_ledger_are_duplicates(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    part = Slice(pipeline.topic, 0, 0, [Event(), Event()], [{"id": None, "code": "invalid_json"}])
    await store(stream, part)
    await admin.execute(
        "UPDATE argus.offsets SET next_offset = 0, stored = 0, dead_lettered = 0 WHERE topic = $1",
        pipeline.topic,
    )
    [outcome] = await store(stream, part)
    assert (outcome.stored, outcome.duplicate) == (0, 2)


async def test_several_pipelines_are_stored_by_one_call(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    other, foreign = sibling(pipeline, "api"), new_pipeline()
    await ensure(admin, other)
    await ensure(admin, foreign)
    shared = Event()
    outcomes = await store(
        stream,
        Slice(pipeline.topic, 0, 0, [shared, Event()]),
        Slice(foreign.topic, 3, 0, [shared, shared]),
        Slice(other.topic, 1, 0, [shared]),
        Slice(pipeline.topic, 1, 0, skipped=2),
    )
    assert [(o.stored, o.duplicate) for o in outcomes] == [(2, 0), (1, 1), (1, 0), (0, 0)]
    for one in (pipeline, other, foreign):
        assert (await audit(admin, one))["balanced"]


async def test_one_fenced_slice_undoes_all_others(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    other = new_pipeline()
    await ensure(admin, other)
    letter = {"id": None, "code": "invalid_json"}
    error = await refused(
        store(
            stream,
            Slice(pipeline.topic, 0, 0, [Event(), Event(by_id=True)], [letter]),
            Slice(other.topic, 0, 5, [Event()]),
        )
    )
    assert error.sqlstate == FENCE
    await nothing_happened(admin, pipeline)


async def test_a_refused_row_leaves_nothing_behind_and_the_halves_can_be_stored(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    # A row that only the table refuses, as a poisonous one would be refused.
    await admin.execute(
        f"ALTER TABLE {pipeline.events} ADD CHECK (distinct_id IS DISTINCT FROM 'poison')"
    )
    events = [Event(), Event(by_id=True), Event(distinct_id="poison"), Event()]
    letter = {"id": None, "code": "invalid_json"}
    error = await refused(store(stream, Slice(pipeline.topic, 0, 0, events, [letter])))
    assert (error.sqlstate or "")[:2] == "23"
    await nothing_happened(admin, pipeline)

    await stream.execute("SELECT argus.create_staging()")
    await store(stream, Slice(pipeline.topic, 0, 0, events[:2]))
    poison = {"id": str(events[2].id), "code": "refused", "event": "page_view"}
    await store(stream, Slice(pipeline.topic, 0, 2, letters=[poison]))
    await store(stream, Slice(pipeline.topic, 0, 3, events[3:], [letter]))
    assert (await ledger(admin, pipeline))["balanced"]
    assert (await audit(admin, pipeline))["balanced"]


async def test_terms_below_zero_are_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    for part in (
        Slice(pipeline.topic, 0, 0, skipped=-1, lost=2),
        Slice(pipeline.topic, 0, 0, duplicate_letters=-1, lost=2),
    ):
        assert (await refused(store(stream, part))).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_a_slice_that_says_more_than_was_staged_is_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await stage(stream, [Slice(pipeline.topic, 0, 0, [Event()])])
    said = Slice(pipeline.topic, 0, 0, [Event(), Event()])
    assert (await refused(store_staged(stream, [said]))).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_an_empty_slice_is_refused(stream: asyncpg.Connection, pipeline: Pipeline) -> None:
    error = await refused(store(stream, Slice(pipeline.topic, 0, 0)))
    assert error.sqlstate == DOES_NOT_ADD_UP


async def test_a_row_outside_its_slice_is_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await stage(stream, [Slice(pipeline.topic, 0, 3, [Event()])])
    said = Slice(pipeline.topic, 0, 0, [Event()])
    assert (await refused(store_staged(stream, [said]))).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_a_row_of_no_slice_is_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    parts = [Slice(pipeline.topic, 0, 0, [Event()]), Slice(pipeline.topic, 1, 0, [Event()])]
    await stage(stream, parts)
    assert (await refused(store_staged(stream, parts[:1]))).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_a_letter_outside_its_slice_is_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    letter = {"id": None, "code": "invalid_json", "offset": 12}
    error = await refused(store(stream, Slice(pipeline.topic, 0, 0, letters=[letter])))
    assert error.sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_a_partition_in_two_slices_is_refused(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    part = Slice(pipeline.topic, 0, 0, skipped=1)
    assert (await refused(store(stream, part, part))).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_a_row_that_vanishes_on_its_way_is_not_called_a_duplicate(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await admin.execute(
        f"CREATE FUNCTION {pipeline.schema}.swallow() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'"
    )
    await admin.execute(
        f"CREATE TRIGGER swallow BEFORE INSERT ON {pipeline.events} FOR EACH ROW"
        f" WHEN (new.event = 'click') EXECUTE FUNCTION {pipeline.schema}.swallow()"
    )
    error = await refused(
        store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event(event="click")]))
    )
    assert error.sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)


async def test_the_table_itself_refuses_terms_that_do_not_add_up(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    for term in ("stored", "duplicate", "dead_lettered", "skipped", "lost", "next_offset"):
        with pytest.raises(asyncpg.CheckViolationError, match="ledger_adds_up"):
            await admin.execute(
                f"UPDATE argus.offsets SET {term} = {term} + 1 WHERE topic = $1", pipeline.topic
            )


async def test_a_session_without_staging_cannot_store(
    connect_as: Connect, pipeline: Pipeline
) -> None:
    bare = await connect_as("argus_stream")
    error = await refused(store_staged(bare, [Slice(pipeline.topic, 0, 0, skipped=1)]))
    assert isinstance(error, asyncpg.InsufficientPrivilegeError)


@pytest.mark.parametrize("poison", [False, True])
async def test_a_rehearsal_says_what_storing_would_and_leaves_nothing(
    stream: asyncpg.Connection, admin: asyncpg.Connection, pipeline: Pipeline, poison: bool
) -> None:
    await admin.execute(
        f"ALTER TABLE {pipeline.events} ADD CHECK (distinct_id IS DISTINCT FROM 'poison')"
    )
    events = [Event(by_id=True), Event(distinct_id="poison" if poison else None)]
    part = Slice(pipeline.topic, 0, 0, events, skipped=1)
    await stage(stream, [part])
    call = stream.execute("SELECT argus.rehearse($1, 0, 0, 3, 1)", pipeline.topic)
    assert (await refused(call)).sqlstate == ("23514" if poison else "AR100")
    await nothing_happened(admin, pipeline)
    late = stream.execute("SELECT argus.rehearse($1, 0, 5, 8, 1)", pipeline.topic)
    assert (await refused(late)).sqlstate == FENCE


@pytest.mark.parametrize(
    ("steps", "recorded"),
    [
        (("decode", "decode"), 1),
        (("ingest", "ingest"), 1),
        (("decode", "ingest"), 1),
        (("ingest", "decode"), 2),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_of_one_id_there_is_one_letter_unless_its_event_was_corrected(
    admin: asyncpg.Connection,
    stream: asyncpg.Connection,
    pipeline: Pipeline,
    steps: tuple[str, str],
    recorded: int,
    at_once: bool,
) -> None:
    same = str(uuid4())
    parts = [
        Slice(
            pipeline.topic, number, 0, letters=[{"id": same, "code": "too_old", "step": step}] * 2
        )
        for number, step in enumerate(steps)
    ]
    if at_once and steps[0] == steps[1]:
        await store(stream, *parts)
    else:
        for part in parts:
            await store(stream, part)
    books = [await ledger(admin, pipeline, number) for number in range(2)]
    assert sum(row["dead_lettered"] for row in books) == recorded
    assert sum(row["duplicate"] for row in books) == 4 - recorded
    assert (await audit(admin, pipeline))["balanced"]


async def test_letters_of_replays_and_without_an_id_are_no_copies(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    same = str(uuid4())
    first: dict[str, Any] = {"id": same, "code": "too_old", "step": "decode"}
    again = first | {"root": f"{pipeline.topic}/0/0", "attempt": 2}
    nameless = {"code": "invalid_json", "step": "ingest"}
    await store(stream, Slice(pipeline.topic, 0, 0, letters=[first, nameless, nameless]))
    await store(stream, Slice(pipeline.topic, 0, 3, letters=[again]))
    assert (await ledger(admin, pipeline))["dead_lettered"] == 4
