"""What becomes of events: each exactly once, or a dead letter, and every count agrees."""

import json
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from argus_cli.database import Database
from argus_cli.live import Live
from argus_cli.log import Log
from argus_contract.names import dead_letter_topic
from asyncpg import Record

from tests.e2e.books import failures, settled
from tests.e2e.conftest import Connection, MakeTenant
from tests.e2e.tenants import PIPELINE, Tenant, page_view


async def reasons(log: Log, tenant: Tenant, mark: str) -> Counter[str]:
    """Letters whose bytes carry this mark, by reason."""
    letters, _ = await log.latest(dead_letter_topic(tenant.topic))
    return Counter([one.reason async for one in letters if mark.encode() in one.value])


async def rows(reader: Connection, tenant: Tenant, ids: list[str]) -> int:
    """How many rows these ids have."""
    query = f"select count(*) from {tenant.rows} where id = any($1::uuid[])"
    count: int = await reader.fetchval(query, ids)
    return count


async def test_three_bad_events_of_ten_are_three_letters_and_the_others_rows(
    tenant: Tenant, database: Database, log: Log, reader: Connection
) -> None:
    mark = uuid.uuid4().hex
    good = [page_view(id=str(uuid.uuid4()), distinct_id=mark) for _ in range(7)]
    bad: list[dict[str, Any]] = [
        {"event": "page_view", "distinct_id": mark, "properties": {}},
        page_view(distinct_id=mark, colour="red"),
        page_view(distinct_id=mark, timestamp="yesterday"),
    ]
    batch = [good[0], bad[0], *good[1:4], bad[1], *good[4:], bad[2]]

    answer = tenant.post({"batch": batch})

    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 7
    refused = {one["index"]: one["code"] for one in answer.json()["rejected"]}
    assert refused == {1: "invalid_event", 5: "unknown_field", 9: "invalid_event"}
    assert failures(await settled(database, log, tenant)) == []
    assert await reasons(log, tenant, mark) == {"invalid_event": 2, "unknown_field": 1}
    assert await rows(reader, tenant, [event["id"] for event in good]) == 7


async def test_a_body_that_is_no_json_is_refused_and_leaves_its_letter(
    tenant: Tenant, database: Database, log: Log
) -> None:
    mark = uuid.uuid4().hex

    answer = tenant.post(f'{{"event":"page_view","distinct_id":"{mark}"'.encode())

    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert failures(await settled(database, log, tenant)) == []
    assert await reasons(log, tenant, mark) == {"invalid_json": 1}


async def test_a_body_without_any_event_is_refused_and_leaves_its_letters(
    tenant: Tenant, database: Database, log: Log
) -> None:
    mark = uuid.uuid4().hex

    answer = tenant.post([{"distinct_id": mark}, {"event": "click", "distinct_id": mark}])

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert failures(await settled(database, log, tenant)) == []
    assert await reasons(log, tenant, mark) == {"invalid_event": 2}


async def test_a_time_outside_the_window_is_accepted_and_then_a_letter(
    tenant: Tenant, database: Database, log: Log
) -> None:
    mark = uuid.uuid4().hex
    past = page_view(distinct_id=mark, timestamp="1999-12-31T23:59:59Z")
    future = page_view(distinct_id=mark, timestamp="9999-12-31T23:59:59Z")

    answer = tenant.post([past, future])

    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert failures(await settled(database, log, tenant)) == []
    assert await reasons(log, tenant, mark) == {"too_old": 1, "too_new": 1}


async def test_text_that_postgresql_cannot_hold_stops_nobody(
    tenant: Tenant, database: Database, log: Log, reader: Connection
) -> None:
    mark = uuid.uuid4().hex
    good = page_view(id=str(uuid.uuid4()))
    nul = json.dumps(page_view(distinct_id=mark, properties={"url": "\0"})).encode()
    surrogate = b'{"event":"noted","distinct_id":"%b","properties":{"s":"\\ud800"}}' % mark.encode()

    answer = tenant.post(b"[%b,%b,%b]" % (nul, surrogate, json.dumps(good).encode()))

    assert answer.status_code == 202, answer.text
    assert failures(await settled(database, log, tenant)) == []
    assert (await reasons(log, tenant, mark)).total() == 2
    assert await rows(reader, tenant, [good["id"]]) == 1


async def test_a_batch_sent_twice_is_stored_once_and_counted_once(
    make_tenant: MakeTenant, database: Database, log: Log, live: Live, reader: Connection
) -> None:
    tenant = make_tenant()
    now = datetime.now(UTC).isoformat()
    timed = [page_view(id=str(uuid.uuid4()), timestamp=now, value=2.5) for _ in range(20)]
    by_id = [page_view(id=str(uuid.uuid4()), value=2.5) for _ in range(20)]

    for _ in range(2):
        answer = tenant.post([*timed, *by_id])
        assert (answer.status_code, answer.json()["accepted"]) == (202, 40), answer.text

    held = await settled(database, log, tenant)
    assert failures(held) == []
    assert sum(line.stored for line in held.lines) == 40
    assert sum(line.duplicate for line in held.lines) == 40
    await counts_agree(tenant, reader, live, {"page_view": 40})


async def test_rows_rollups_and_live_counters_agree(
    make_tenant: MakeTenant, database: Database, log: Log, live: Live, reader: Connection
) -> None:
    tenant = make_tenant()
    names = {"signup": 3, "page_view": 40, "click": 7}
    typed = {"properties": {"url": "/", "element": "buy"}}
    events = [
        {"event": name, "value": number, **({} if name == "signup" else typed)}
        for name, count in names.items()
        for number in range(count)
    ]

    for start in range(0, len(events), 13):
        assert tenant.post(events[start : start + 13]).status_code == 202

    assert failures(await settled(database, log, tenant)) == []
    await counts_agree(tenant, reader, live, names)
    sums = await reader.fetch(f"select event, sum(sum) from {tenant.rollup} group by event")
    assert by_event(sums) == {name: sum(range(count)) for name, count in names.items()}


def by_event(rows: list[Record]) -> dict[str, int]:
    """The second column by the first."""
    return {row[0]: row[1] for row in rows}


async def counts_agree(
    tenant: Tenant, reader: Connection, live: Live, expected: dict[str, int]
) -> None:
    """Rows, rollup and live counters, each by event name, are all as expected."""
    stored = await reader.fetch(f"select event, count(*) from {tenant.rows} group by event")
    rolled = await reader.fetch(f"select event, sum(count) from {tenant.rollup} group by event")
    first, last = await reader.fetchrow(
        f"select floor(extract(epoch from min(received_at)))::bigint,"
        f" floor(extract(epoch from max(received_at)))::bigint from {tenant.rows}"
    ) or (0, 0)
    counted = await live.counted(tenant.id, (PIPELINE,), range(first, last + 1))
    assert by_event(stored) == expected
    assert by_event(rolled) == expected
    assert counted == expected
