"""Holds the load's own record against all that ARGUS keeps: rows, letters, counters, books.

Each acknowledged id is in exactly one of stored or dead-lettered, once; nothing is there that was
not sent, or with other content; rollups and live counters equal rows; the ledger balances, and its
audit agrees.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from argus_cli import books, database, live, log
from argus_cli.audit import Books
from argus_cli.database import Database
from argus_cli.ledger import Verdict
from argus_cli.letters import Letter
from argus_cli.live import Live
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_contract.names import dead_letter_topic

from tests.chaos.load import Flow, Load
from tests.chaos.tenants import PIPELINE, TENANT, Tenant
from tests.chaos.traffic import digest, readable, written_ids
from tests.e2e.books import database_url

SETTLED_S: Final = 180.0
LIVE_S: Final = 60.0
_NAMED: Final = 3


@dataclass(slots=True)
class Found:
    """What ARGUS keeps of one tenant. Letters: by id, the reasons of its letters by their keys.

    Copies, which the ledger counts as duplicates, are not among them. `contents` has two digests
    for each row's id, with its time and without: only the sender knows whether it gave one.
    """

    rows: list[bytes]
    contents: Mapping[bytes, tuple[bytes, bytes]]
    letters: Mapping[bytes, list[str]]
    by_event: Mapping[str, int]
    rolled: Mapping[str, int]
    counted: Mapping[str, int]
    by_reason: Mapping[str, int]
    held: Books


@dataclass(slots=True)
class Report:
    """The verdict: every promise by name, with what is wrong about it, empty where it was kept."""

    checks: dict[str, str] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The promises that were not kept."""
        return [f"{what}: {problem}" for what, problem in self.checks.items() if problem]


async def verify(load: Load, settings: Settings) -> Report:
    """Waits until the logs are read to their ends, and judges every tenant of the load."""
    report = Report()
    async with (
        database.reading(database_url(settings)) as held,
        log.reading(settings.require_kafka()) as letters,
        live.reading(settings.require_redis()) as counters,
    ):
        reader = await asyncpg.connect(database_url(settings), timeout=10)
        try:
            for flow in load.flows:
                found = await gather(flow.tenant, held, letters, counters, reader)
                report.figures.append(_figures(flow, found))
                for what, problem in judge(flow, found).items():
                    report.checks[f"{flow.tenant.namespace}: {what}"] = problem
        finally:
            await reader.close()
    return report


async def gather(
    tenant: Tenant,
    held: Database,
    letters: Log,
    counters: Live,
    reader: "asyncpg.Connection[asyncpg.Record]",
) -> Found:
    """Everything of one tenant, once its log is read to the end or SETTLED_S are over."""
    await books.balanced(held, letters, tenant.namespace, TENANT, SETTLED_S)
    [audited] = await books.gather(held, letters, tenant.namespace, TENANT)
    every = letters.letters(dead_letter_topic(tenant.topic))
    rows, contents = await stored_rows(tenant.rows, reader)
    by_event = await reader.fetch(f"select event, count(*) from {tenant.rows} group by 1")
    rolled = await reader.fetch(f"select event, sum(count) from {tenant.rollup} group by 1")
    stored = {row[0]: row[1] for row in by_event}
    return Found(
        rows=rows,
        contents=contents,
        letters=reasons([letter async for letter in every], audited.copies()),
        by_event=stored,
        rolled={row[0]: int(row[1]) for row in rolled},
        counted=await _counted(tenant, counters, reader, stored),
        by_reason=await _by_reason(tenant, reader),
        held=audited,
    )


async def stored_rows(
    table: str, reader: "asyncpg.Connection[asyncpg.Record]"
) -> tuple[list[bytes], dict[bytes, tuple[bytes, bytes]]]:
    """The id of every row, and the digests of its content, of which no more is kept."""
    query = (
        f"select uuid_send(id), event, distinct_id, session_id, time, properties::text from {table}"
    )
    ids: list[bytes] = []
    contents: dict[bytes, tuple[bytes, bytes]] = {}
    async with reader.transaction(readonly=True):
        async for identity, event, who, session, time, text in reader.cursor(query, prefetch=500):
            properties = json.loads(text)
            ids.append(identity)
            contents[identity] = (
                digest(event, who, session, time, properties),
                digest(event, who, session, None, properties),
            )
    return ids, contents


def reasons(letters: Iterable[Letter], copies: Collection[str]) -> dict[bytes, list[str]]:
    """By id, the reasons of its letters: one for each key, but for the keys of copies. Pure."""
    found: dict[bytes, list[str]] = {}
    for letter in {letter.key: letter for letter in letters}.values():
        if str(letter.key) not in copies:
            written = next(written_ids(letter.value), b"")
            found.setdefault(written, []).append(letter.reason)
    return found


async def _by_reason(
    tenant: Tenant, reader: "asyncpg.Connection[asyncpg.Record]"
) -> dict[str, int]:
    """Dead letters as the ledger counts them."""
    rows = await reader.fetch(
        "select key, value::bigint from argus.pipeline_ledger,"
        " jsonb_each_text(dead_lettered_by_reason) where topic = $1",
        tenant.topic,
    )
    return {row[0]: row[1] for row in rows}


async def _counted(
    tenant: Tenant,
    counters: Live,
    reader: "asyncpg.Connection[asyncpg.Record]",
    expected: Mapping[str, int],
) -> dict[str, int]:
    """The live counters, which follow SQL: given LIVE_S to say what is expected."""
    seconds = await reader.fetchrow(
        "select floor(extract(epoch from min(received_at)))::bigint,"
        f" floor(extract(epoch from max(received_at)))::bigint from {tenant.rows}"
    )
    if seconds is None or seconds[0] is None:
        return {}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIVE_S
    while True:
        found = await counters.counted(tenant.id, (PIPELINE,), range(seconds[0], seconds[1] + 1))
        if found == expected or loop.time() > deadline:
            return found
        await asyncio.sleep(1)


def judge(flow: Flow, found: Found) -> dict[str, str]:
    """Every promise by name, with what is wrong about it, empty where it was kept. Pure."""
    rows = Counter(found.rows)
    stored = set(rows)
    acknowledged = {one for one, acks in flow.rows.items() if acks}
    lines = found.held.lines
    records = sum(line.next_offset - line.first_offset for line in lines)
    return {
        "answers are right": "; ".join(flow.wrong[:_NAMED]),
        "everything was acknowledged in the end": _count(flow.unacknowledged(), "never"),
        "every acknowledged event is stored": _some(acknowledged - stored),
        "no event is stored twice": _some(one for one, count in rows.items() if count > 1),
        "nothing is stored that was not sent": _some(stored - flow.rows.keys()),
        "rows say what was sent": _some(
            one
            for one in stored & flow.contents.keys()
            if flow.contents[one] not in found.contents[one]
        ),
        "nothing is both stored and dead-lettered": _some(stored & found.letters.keys()),
        "every refused event is a dead letter": _missing_letters(flow, found),
        "no dead letter was written twice": _doubled_letters(flow, found),
        "nothing else is a dead letter": _some(found.letters.keys() - flow.letters.keys()),
        "dead letters say the right reason": _wrong_reasons(flow, found),
        "the ledger counts letters by reason": _differ(
            Counter(reason for reasons in found.letters.values() for reason in reasons),
            found.by_reason,
        ),
        "rollups equal rows": _differ(found.by_event, found.rolled),
        "live counters equal rows": _differ(found.by_event, found.counted),
        "the books balance": "" if found.held.verdict is Verdict.BALANCED else _books(found.held),
        "the log has all that was promised": ""
        if records >= flow.acknowledged
        else f"{records} records, {flow.acknowledged} acknowledged",
        "resends are duplicates": _fewer(sum(line.duplicate for line in lines), flow.repeats()),
    }


def _missing_letters(flow: Flow, found: Found) -> str:
    return _some(
        one
        for one, letter in flow.letters.items()
        if len(found.letters.get(one, ()))
        < (letter.acks if letter.item.letters_each else letter.acks > 0)
    )


def _doubled_letters(flow: Flow, found: Found) -> str:
    return _some(
        one
        for one, letter in flow.letters.items()
        if len(found.letters.get(one, ())) > (letter.sends if letter.item.letters_each else 1)
    )


def _wrong_reasons(flow: Flow, found: Found) -> str:
    return _some(
        one
        for one, letter in flow.letters.items()
        if set(found.letters.get(one, ())) - {letter.item.code}
    )


def _books(held: Books) -> str:
    failed = [
        f"{check.what}: expected {check.expected}, found {check.found} {check.note}"
        for check in held.checks()
        if not check.holds
    ]
    odd = [f"{line}" for line in held.lines if line.verdict is not Verdict.BALANCED]
    return "; ".join([held.verdict, *failed, *odd])


def _figures(flow: Flow, found: Found) -> str:
    lines = found.held.lines
    return (
        f"{flow.tenant.namespace}: {flow.acknowledged} acknowledged records, "
        f"{len(found.rows)} rows, "
        f"{sum(map(len, found.letters.values()))} letters, "
        f"{len(found.held.copies())} copies of letters, "
        f"{sum(line.duplicate for line in lines)} duplicates, "
        f"{sum(line.lost for line in lines)} lost"
    )


def _some(ids: Iterable[bytes]) -> str:
    found = list(ids)
    if not found:
        return ""
    return f"{len(found)}, such as {', '.join(readable(one) for one in found[:_NAMED])}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""


def _differ(expected: Mapping[str, int], found: Mapping[str, int]) -> str:
    return "" if expected == found else f"{dict(found)} instead of {dict(expected)}"


def _fewer(found: int, least: int) -> str:
    return "" if found >= least else f"{found} instead of at least {least}"
