"""What tenants sent in a day and a month, told from the ledger."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from tests.integration.db.support import (
    Connect,
    Event,
    Pipeline,
    Slice,
    count,
    ensure,
    ensure_pipeline,
    new_pipeline,
    sample,
    sibling,
    store,
)


async def usage(admin: asyncpg.Connection, pipeline: Pipeline) -> tuple[int, int] | None:
    """Events of the day and of the month; None where the tenant is not in it."""
    row = await admin.fetchrow(
        "SELECT * FROM argus.usage() WHERE tenant_id = $1", pipeline.tenant_id
    )
    return None if row is None else (row["daily"], row["monthly"])


async def today(admin: asyncpg.Connection) -> date:
    found = await admin.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    assert isinstance(found, date)
    return found


async def marked(admin: asyncpg.Connection, pipeline: Pipeline, day: date, accepted: int) -> None:
    """As if the pipeline were old, and had been marked so on that day."""
    old = "UPDATE argus.pipelines SET created_at = now() - interval '90 days'"
    await admin.execute(f"{old} WHERE pipeline_uid = $1", pipeline.uid)
    await admin.execute(
        "INSERT INTO argus.usage_marks VALUES ($1, $2, $3)", pipeline.uid, day, accepted
    )


async def marks(admin: asyncpg.Connection, pipeline: Pipeline) -> dict[date, int]:
    rows = await admin.fetch(
        "SELECT day, accepted FROM argus.usage_marks WHERE pipeline_uid = $1", pipeline.uid
    )
    return {row["day"]: row["accepted"] for row in rows}


async def mark(admin: asyncpg.Connection) -> None:
    await admin.execute("SELECT argus.mark_usage()")


async def test_what_the_log_took_counts_whether_it_was_read_or_not(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await mark(admin)
    letter = {"id": None, "code": "invalid_json"}
    await store(stream, Slice(pipeline.topic, 0, 0, [Event(), Event()], [letter], skipped=4))
    assert await usage(admin, pipeline) == (3, 3)

    await sample(stream, pipeline, 12)
    assert await usage(admin, pipeline) == (8, 8)

    await store(stream, Slice(pipeline.topic, 1, 0, lost=5))
    assert await usage(admin, pipeline) == (13, 13)


async def test_all_pipelines_of_a_tenant_count(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    other = sibling(pipeline, "other")
    await ensure(admin, other)
    await mark(admin)
    await sample(stream, pipeline, 5)
    await sample(stream, other, 7)

    assert await usage(admin, pipeline) == (12, 12)


async def test_a_pipeline_that_was_made_today_began_at_nothing(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await sample(stream, pipeline, 5)
    await mark(admin)

    assert await marks(admin, pipeline) == {await today(admin): 0}
    assert await usage(admin, pipeline) == (5, 5)


async def test_the_day_counts_from_its_own_mark_and_the_month_from_its_first(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    now = await today(admin)
    first = now.replace(day=1)
    await marked(admin, pipeline, first - timedelta(days=1), 1)
    await sample(stream, pipeline, 10)
    await mark(admin)
    assert await marks(admin, pipeline) == {first - timedelta(days=1): 1, now: 10}

    await sample(stream, pipeline, 30)
    assert await usage(admin, pipeline) == (20, 20)
    if now != first:
        await marked(admin, pipeline, first, 4)
        assert await usage(admin, pipeline) == (20, 26)


async def test_a_second_mark_of_a_day_changes_nothing(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    now = await today(admin)
    await marked(admin, pipeline, now, 3)
    await sample(stream, pipeline, 10)
    for _ in range(2):
        await mark(admin)

    assert await marks(admin, pipeline) == {now: 3}
    assert await usage(admin, pipeline) == (7, 7)


async def test_a_day_without_a_mark_is_told_of_as_nothing(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await sample(stream, pipeline, 10)

    assert await usage(admin, pipeline) == (0, 0)


async def test_marks_of_two_months_are_kept(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    now = await today(admin)
    for age in (62, 63, 90):
        await marked(admin, pipeline, now - timedelta(days=age), 1)
    await mark(admin)

    assert set(await marks(admin, pipeline)) == {now, now - timedelta(days=62)}


async def test_what_a_retained_pipeline_took_still_counts_and_it_gets_no_mark(
    admin: asyncpg.Connection, stream: asyncpg.Connection, pipeline: Pipeline
) -> None:
    gone = sibling(pipeline, "gone")
    await ensure(admin, gone)
    await mark(admin)
    await sample(stream, gone, 7)
    await admin.execute("SELECT argus.retain_pipeline($1)", gone.uid)
    assert await usage(admin, pipeline) == (7, 7)

    await admin.execute("DELETE FROM argus.usage_marks WHERE pipeline_uid = $1", gone.uid)
    await mark(admin)
    assert await marks(admin, gone) == {}


@pytest.mark.parametrize("way", ["retain", "drop"])
async def test_a_tenant_that_is_gone_is_not_in_it(
    admin: asyncpg.Connection, pipeline: Pipeline, way: str
) -> None:
    await mark(admin)
    await admin.execute(f"SELECT argus.{way}_tenant($1)", pipeline.tenant_id)

    assert await usage(admin, pipeline) is None
    assert bool(await marks(admin, pipeline)) is (way == "retain")


async def test_a_tenant_without_a_pipeline_sent_nothing(
    admin: asyncpg.Connection, pipeline: Pipeline
) -> None:
    await admin.execute("SELECT argus.drop_pipeline($1)", pipeline.uid)

    assert await usage(admin, pipeline) == (0, 0)


async def test_a_pipeline_that_is_dropped_meanwhile_fails_no_other_mark(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    doomed = new_pipeline()
    await ensure(admin, doomed)
    other = await connect_as(None)
    dropping = other.transaction()
    await dropping.start()
    await other.execute("SELECT argus.drop_pipeline($1)", doomed.uid)
    marking = asyncio.create_task(mark(admin))
    await asyncio.sleep(0.3)
    await dropping.commit()
    await asyncio.wait_for(marking, 10)

    assert await marks(admin, pipeline)
    assert await marks(admin, doomed) == {}


async def test_two_that_mark_at_once_do_not_disturb_each_other(
    admin: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    await asyncio.gather(*(mark(one) for one in (admin, await connect_as(None))))

    assert len(await marks(admin, pipeline)) == 1


async def test_the_moment_is_told_with_it(admin: asyncpg.Connection, pipeline: Pipeline) -> None:
    before = datetime.now(UTC)
    at = await admin.fetchval(
        "SELECT at FROM argus.usage() WHERE tenant_id = $1", pipeline.tenant_id
    )

    assert abs(at - before) < timedelta(minutes=1)


async def test_marking_stops_no_batch(
    admin: asyncpg.Connection, stream: asyncpg.Connection, connect_as: Connect, pipeline: Pipeline
) -> None:
    other = await connect_as(None)
    async with other.transaction():
        await mark(other)
        await store(stream, Slice(pipeline.topic, 0, 0, [Event()]))
        await ensure_pipeline(admin, pipeline)

    assert await count(admin, pipeline.events) == 1
