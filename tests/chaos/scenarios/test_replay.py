"""Malformed events among good ones become letters, and those that would pass later become rows."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argus_cli import database, log
from argus_cli.audit import Books
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_contract.ids import new_id
from argus_contract.rejects import Code
from argus_contract.times import rfc3339

from tests.chaos import node
from tests.chaos.scenarios.conftest import MakeTenant, Reader, Say
from tests.chaos.scenarios.console import argus
from tests.chaos.scenarios.outage import eventually
from tests.chaos.scenarios.span import span
from tests.chaos.tenants import PIPELINE, Tenant
from tests.e2e.books import failures, settled
from tests.e2e.tenants import page_view, wait_ready

GOOD = span(20_000, 100_000)
BAD = span(200, 1_000)
"""Of these, half are too old for the pipeline as it is made."""
NARROW = {"storage": {"retention": "30d"}}
WIDE = {"storage": {"retention": "90d"}}
AGE_S = 40 * 86_400
BATCH = 500
AT_ONCE = 4
WITHIN_S = 300.0

pytestmark = pytest.mark.timeout(900)

Event = dict[str, Any]
MISTAKES: tuple[tuple[Code, bool, Event], ...] = (
    (Code.INVALID_EVENT, True, {"properties": {"title": "no url"}}),
    (Code.UNKNOWN_FIELD, True, {"colour": "red"}),
    (Code.UNSTORABLE, False, {"properties": {"url": "/", "nul": "\0"}}),
)
"""Reason, whether the answer tells it already, and what is wrong with a page view."""


@dataclass(slots=True)
class Sent:
    """What was sent, and which of it is to become what."""

    good: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    at_edge: int = 0

    def events(self, good: int, bad: int) -> Iterator[Event]:
        """The events, in no order; notes each."""
        now = time.time_ns() // 1000
        for _ in range(good):
            event_id = new_id(now)
            self.good.add(event_id)
            yield page_view(id=event_id)
        for _ in range(bad // 2):
            event_id = new_id(now)
            self.old.add(event_id)
            self.reasons[Code.TOO_OLD] += 1
            yield page_view(id=event_id, timestamp=rfc3339(now - AGE_S * 1_000_000))
        for number in range(bad - bad // 2):
            code, at_edge, fields = MISTAKES[number % len(MISTAKES)]
            self.reasons[code] += 1
            self.at_edge += at_edge
            yield page_view(id=new_id(now)) | fields


async def send(tenant: Tenant, events: list[Event], seed: int) -> int:
    """Sends all, mixed, some batches at a time; how many the answers called malformed."""
    random.Random(seed).shuffle(events)
    free = asyncio.Semaphore(AT_ONCE)

    async def post(batch: Sequence[Event]) -> int:
        async with free:
            response = await asyncio.to_thread(tenant.post, list(batch))
        assert response.status_code == 202, response.text
        return len(response.json()["rejected"])

    batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
    return sum(await asyncio.gather(*map(post, batches)))


async def held(tenant: Tenant, settings: Settings) -> Books:
    """The tenant's books, once its log is read to the end."""
    async with (
        database.reading(settings.require_database()) as sql,
        log.reading(settings.require_kafka()) as records,
    ):
        return await settled(sql, records, tenant)


async def stored(tenant: Tenant, reader: Reader) -> list[str]:
    return [str(row[0]) for row in await reader.fetch(f"select id from {tenant.rows}")]


async def reasons(tenant: Tenant, reader: Reader) -> Counter[str]:
    """Dead letters by reason, as the ledger has them."""
    query = "select dead_lettered_by_reason from argus.pipeline_ledger where topic = $1"
    return Counter(json.loads(await reader.fetchval(query, tenant.topic)))


async def ends(tenant: Tenant, settings: Settings) -> dict[tuple[str, int], int]:
    """Where the log ends, for each partition."""
    records: Log
    async with log.reading(settings.require_kafka()) as records:
        return await records.ends((tenant.topic, partition) for partition in range(2))


async def relax(tenant: Tenant) -> None:
    """Lets the pipeline take what is up to 90 days old."""
    await node.kubectl(
        *("patch", "arguspipeline", PIPELINE, "-n", tenant.namespace),
        *("--type=merge", "-p", json.dumps({"spec": WIDE})),
    )
    await asyncio.to_thread(wait_ready, tenant.namespace)


async def filled(
    tenant: Tenant, settings: Settings, reader: Reader, seed: int, good: int, bad: int
) -> Sent:
    """Sends so many; the good ones are rows then, and the others letters, each by its reason."""
    sent = Sent()
    rejected = await send(tenant, list(sent.events(good, bad)), seed)
    books = await held(tenant, settings)
    assert rejected == sent.at_edge
    assert sum(line.dead_lettered for line in books.lines) == bad
    assert await reasons(tenant, reader) == sent.reasons
    assert sorted(await stored(tenant, reader)) == sorted(sent.good)
    assert failures(books) == []
    return sent


async def replayed(tenant: Tenant, directory: Path, *options: str) -> dict[str, Any]:
    """What a run of `argus dlq replay` reports."""
    report = directory / "report.json"
    pipeline = f"{tenant.namespace}/{PIPELINE}"
    words = ("dlq", "replay", "--pipeline", pipeline, "--yes", "--report", str(report), *options)
    done = await argus(*words, within=WITHIN_S)
    assert done.code == 0, done.output
    found: dict[str, Any] = json.loads(report.read_text())
    return found


async def test_what_a_bound_refused_is_stored_once_the_bound_is_relaxed(
    make_tenant: MakeTenant,
    settings: Settings,
    reader: Reader,
    seed: int,
    say: Say,
    tmp_path: Path,
) -> None:
    tenant = await make_tenant(pipeline=NARROW)
    sent = await filled(tenant, settings, reader, seed, GOOD, BAD)
    say(f"{GOOD} good events and {BAD} malformed ones: letters {dict(sent.reasons)}")

    too_early = await replayed(tenant, tmp_path)
    await relax(tenant)
    first = await replayed(tenant, tmp_path)
    books = await held(tenant, settings)
    before = await ends(tenant, settings)
    second = await replayed(tenant, tmp_path)

    others = {code: count for code, count in sent.reasons.items() if code != Code.TOO_OLD}
    say(f"replayed too early: {too_early['replayed']}, refused: {too_early['refused']}")
    say(f"replayed after: {first['message']}")
    say(f"replayed again: {second['message']}; the log ends at {sum(before.values())}, as before")
    assert too_early["replayed"] == 0
    assert too_early["refused"] == sent.reasons
    assert (first["replayed"], first["stored"], first["failed"]) == (BAD // 2, BAD // 2, 0)
    assert first["refused"] == others
    assert second["replayed"] == 0
    assert await ends(tenant, settings) == before
    assert sorted(await stored(tenant, reader)) == sorted(sent.good | sent.old)
    assert failures(books) == []
    assert failures(await held(tenant, settings)) == []


def replay_resource(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "argus.dev/v1alpha1",
        "kind": "ArgusReplay",
        "metadata": {"name": name},
        "spec": {"pipelineRef": {"name": PIPELINE}, "filter": {"reasons": [Code.TOO_OLD.value]}},
    }


async def completed(tenant: Tenant, name: str) -> dict[str, Any]:
    """Applies an ArgusReplay and gives its status once it is complete."""
    applied = json.dumps(replay_resource(name)).encode()
    await node.command("kubectl", "apply", "-n", tenant.namespace, "-f", "-", stdin=applied)

    async def complete() -> dict[str, Any] | None:
        found = await node.get("argusreplay", name, "-n", tenant.namespace)
        status: dict[str, Any] = found.get("status", {})
        states = {one["type"]: one["status"] for one in status.get("conditions", ())}
        assert states.get("Failed") != "True", status
        return status if states.get("Complete") == "True" else None

    return await eventually(complete, WITHIN_S, f"ArgusReplay {name} is complete")


async def test_the_same_by_a_resource(
    make_tenant: MakeTenant, settings: Settings, reader: Reader, seed: int, say: Say
) -> None:
    good, bad = 1_000, 60
    tenant = await make_tenant(pipeline=NARROW)
    sent = await filled(tenant, settings, reader, seed, good, bad)

    await relax(tenant)
    first = await completed(tenant, "first")
    books = await held(tenant, settings)
    before = await ends(tenant, settings)
    second = await completed(tenant, "second")

    say(
        f"first: matched {first['matched']}, replayed {first['replayed']}, stored {first['stored']}"
    )
    say(f"second: matched {second['matched']}, replayed {second['replayed']}")
    assert (first["matched"], first["replayed"], first["stored"]) == (bad // 2,) * 3
    assert second["replayed"] == 0
    assert await ends(tenant, settings) == before
    assert sorted(await stored(tenant, reader)) == sorted(sent.good | sent.old)
    assert failures(books) == []
