"""Dead letters by reason add up to the ledger's term, whatever becomes of the letters' rows."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.db.support import (
    DOES_NOT_ADD_UP,
    Event,
    Pipeline,
    Slice,
    audit,
    ensure,
    ledger,
    new_pipeline,
    nothing_happened,
    pipeline_ledger,
    refused,
    store,
)

HOUR = timedelta(hours=1)


def letters(*codes: str) -> list[dict[str, Any]]:
    return [{"id": str(uuid4()), "code": code} for code in codes]


async def reasons(admin: asyncpg.Connection, pipeline: Pipeline) -> dict[str, int]:
    row = await pipeline_ledger(admin, pipeline)
    found: dict[str, int] = json.loads(row["dead_lettered_by_reason"])
    assert sum(found.values()) == row["dead_lettered"]
    assert row["balanced"]
    return found


async def test_letters_are_counted_by_reason_in_the_storing_transaction(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    assert await reasons(admin, pipeline) == {}
    await store(
        stream,
        Slice(pipeline.topic, 0, 0, [Event()], letters("too_old", "refused", "too_old")),
        Slice(pipeline.topic, 2, 0, letters=letters("too_old")),
    )
    await store(stream, Slice(pipeline.topic, 0, 4, [Event()], letters("too_new", "too_old")))
    assert await reasons(admin, pipeline) == {"too_old": 4, "refused": 1, "too_new": 1}
    rows = await admin.fetch(
        "SELECT partition, code, n FROM argus.letter_counts WHERE topic = $1 ORDER BY 1, 2",
        pipeline.topic,
    )
    assert [tuple(row) for row in rows] == [
        (0, "refused", 1),
        (0, "too_new", 1),
        (0, "too_old", 3),
        (2, "too_old", 1),
    ]


async def test_reasons_outlive_their_letters(
    admin: asyncpg.Connection, stream: asyncpg.Connection
) -> None:
    short = new_pipeline(
        chunk_interval=HOUR,
        retention=6 * HOUR,
        dedupe_window=HOUR,
        dead_letter_retention=timedelta(0),
    )
    await ensure(admin, short)
    await store(stream, Slice(short.topic, 1, 0, letters=letters("too_old", "too_old", "refused")))
    await age(admin, short, 7 * HOUR)
    await admin.execute("SELECT argus.expire($1)", short.uid)
    row = await audit(admin, short)
    assert (row["letters"], row["letters_expired"], row["balanced"]) == (0, 3, True)
    assert await reasons(admin, short) == {"too_old": 2, "refused": 1}
    await store(stream, Slice(short.topic, 1, 3, letters=letters("refused")))
    assert await reasons(admin, short) == {"too_old": 2, "refused": 2}


@pytest.mark.parametrize("kept_by", ["retention", "dedupe_window", "dead_letter_retention"])
async def test_letters_are_kept_for_as_long_as_anything_asks_for_them(
    admin: asyncpg.Connection, stream: asyncpg.Connection, kept_by: str
) -> None:
    spans: dict[str, Any] = {
        "retention": HOUR,
        "dedupe_window": HOUR,
        "dead_letter_retention": HOUR,
        kept_by: 10 * HOUR,
    }
    made = new_pipeline(chunk_interval=HOUR, **spans)
    await ensure(admin, made)
    await store(stream, Slice(made.topic, 0, 0, letters=letters("too_old")))
    for hours, left in ((9, 1), (2, 0)):
        await age(admin, made, hours * HOUR)
        await admin.execute("SELECT argus.expire($1)", made.uid)
        assert (await audit(admin, made))["letters"] == left


async def age(admin: asyncpg.Connection, pipeline: Pipeline, by: timedelta) -> None:
    await admin.execute(
        "UPDATE argus.dead_letters SET at = at - $2::interval WHERE topic = $1", pipeline.topic, by
    )


async def test_a_count_that_was_touched_by_hand_shows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, letters=letters("too_old", "refused")))
    await admin.execute("DELETE FROM argus.letter_counts WHERE topic = $1", pipeline.topic)
    assert not (await pipeline_ledger(admin, pipeline))["balanced"]
    assert (await ledger(admin, pipeline))["balanced"]


@pytest.mark.parametrize(
    "letter",
    [
        {"code": None},
        {"code": ""},
        {"code": "x" * 101},
        {"id": "no uuid"},
        {"attempt": 0},
        {"attempt": "two"},
        {"attempt": 10**12},
        {"root": "elsewhere/0/1"},
        {"root": ""},
        {"offset": None},
        {"offset": -1},
        {"offset": 10**30},
        {"slice": "one"},
        {"slice": 7},
        {"slice": None},
    ],
    ids=lambda letter: json.dumps(letter)[:30],
)
async def test_a_letter_that_is_none_is_refused_as_the_callers_mistake(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline, letter: Any
) -> None:
    """Never as bad data: the stream would make a letter of a row that is not to blame."""
    wrong = {"id": None, "code": "too_old", **letter}
    call = store(stream, Slice(pipeline.topic, 0, 0, [Event()], [wrong]))
    assert (await refused(call)).sqlstate == DOES_NOT_ADD_UP
    await nothing_happened(admin, pipeline)
