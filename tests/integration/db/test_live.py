"""What Redis follows: an outbox without gaps, and one snapshot of the window."""

import json
import random
from datetime import timedelta

import asyncpg

from tests.integration.db.support import (
    Event,
    Pipeline,
    Slice,
    Stored,
    now,
    store,
    summed,
)


async def outbox(
    stream: asyncpg.Connection, pipeline: Pipeline, partition: int, from_offset: int
) -> list[tuple[int, int, dict[str, dict[str, int]]]]:
    rows = await stream.fetch(
        "SELECT * FROM argus.outbox_after($1, $2, $3)", pipeline.topic, partition, from_offset
    )
    return [(r["from_offset"], r["to_offset"], json.loads(r["deltas"])) for r in rows]


async def live_window(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> dict[int, tuple[int, Stored]]:
    rows = await stream.fetch("SELECT * FROM argus.live_window($1)", pipeline.topic)
    return {
        row["partition"]: (row["next_offset"], Stored(0, 0, json.loads(row["deltas"])))
        for row in rows
    }


async def test_every_move_is_in_the_outbox_and_leaves_no_gap(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    event = Event(event="click")
    second = str(int(event.received_at.timestamp()))
    await store(stream, Slice(pipeline.topic, 0, 0, [event, event]))
    await store(stream, Slice(pipeline.topic, 0, 2, [event]))
    await store(stream, Slice(pipeline.topic, 0, 3, letters=[{"id": None, "code": "refused"}]))
    await stream.execute("SELECT argus.open_partition($1, 0, 9)", pipeline.topic)
    assert await outbox(stream, pipeline, 0, 0) == [
        (0, 2, {second: {"click": 1}}),
        (2, 3, {}),
        (3, 4, {}),
        (4, 9, {}),
    ]
    assert [move[0] for move in await outbox(stream, pipeline, 0, 3)] == [3, 4]
    assert await outbox(stream, pipeline, 0, 9) == []
    assert await outbox(stream, pipeline, 1, 0) == []


async def test_the_outbox_is_read_page_after_page(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    async def page(from_offset: int, most: int | None) -> list[int]:
        rows = await stream.fetch(
            "SELECT * FROM argus.outbox_page($1, 0, $2, $3)", pipeline.topic, from_offset, most
        )
        assert all(row["to_offset"] == row["from_offset"] + 1 for row in rows)
        return [row["from_offset"] for row in rows]

    for start in range(7):
        await store(stream, Slice(pipeline.topic, 0, start, [Event()]))
    assert await page(0, 3) == [0, 1, 2]
    assert await page(3, 3) == [3, 4, 5]
    assert await page(6, 3) == [6]
    assert await page(7, 3) == []
    assert await page(0, 7) == list(range(7))
    assert await page(2, 0) == await page(2, -5) == [2], "whoever asks on gets on"


async def test_the_live_window_equals_a_recomputation_from_the_rows(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    order = random.Random(7)
    position = [0, 0, 0, 0]
    for _ in range(12):
        parts = [
            Slice(
                pipeline.topic,
                partition,
                position[partition],
                [
                    Event(
                        event=order.choice(["click", "page_view", "signup"]),
                        received_at=now() - timedelta(seconds=order.randrange(3500)),
                    )
                    for _ in range(order.randrange(1, 30))
                ],
            )
            for partition in (0, 2)
        ]
        await store(stream, *parts)
        for part in parts:
            position[part.partition] = part.end

    rows = await admin.fetch(
        "SELECT source_partition AS p, floor(extract(epoch FROM received_at))::bigint::text AS s,"
        f" event, count(*) AS n FROM {pipeline.events} GROUP BY 1, 2, 3"
    )
    window = await live_window(stream, pipeline)
    assert {p: next_offset for p, (next_offset, _) in window.items()} == dict(enumerate(position))
    for partition in range(4):
        expected = {(r["s"], r["event"]): r["n"] for r in rows if r["p"] == partition}
        assert summed([window[partition][1]]) == expected


async def test_what_was_received_before_the_window_is_left_out(
    stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    late = Event(received_at=now() - timedelta(minutes=61))
    fresh = Event(received_at=now() - timedelta(minutes=59))
    await store(stream, Slice(pipeline.topic, 0, 0, [late, fresh]))
    next_offset, counted = (await live_window(stream, pipeline))[0]
    assert next_offset == 2
    assert counted.deltas == {str(int(fresh.received_at.timestamp())): {"page_view": 1}}


async def test_the_window_survives_retention_of_the_outbox(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
    before = await live_window(stream, pipeline)
    await admin.execute(
        "UPDATE argus.outbox SET created_at = now() - interval '62 minutes' WHERE topic = $1",
        pipeline.topic,
    )
    await admin.execute("SELECT argus.expire($1)", pipeline.uid)
    assert await live_window(stream, pipeline) == before


async def test_an_unknown_topic_has_no_window(stream: asyncpg.Connection) -> None:
    assert await stream.fetch("SELECT * FROM argus.live_window('no.such.topic')") == []
