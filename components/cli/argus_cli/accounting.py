"""`argus ledger`: gathers the books and shows them, by pipeline or partition, audited or not."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from argus_cli import books, database, log
from argus_cli.audit import Books
from argus_cli.database import Database
from argus_cli.ledger import Line, Summary, Verdict, judge
from argus_cli.log import Log
from argus_cli.render import books_table, ledger_table, pipelines_table, styled
from argus_cli.scope import Scope
from argus_cli.settings import Settings


async def ledger(
    settings: Settings,
    console: Console,
    scope: Scope,
    *,
    partitions: bool,
    audit: bool,
    as_json: bool,
) -> Verdict:
    """Prints the ledger of the pipelines in scope; gives the worst verdict."""
    summaries, audited = await _gather(settings, scope, audit=audit)
    verdict = judge(
        [*(one.verdict for one in summaries), *(one.verdict for one in audited)],
    )
    if as_json:
        print(json.dumps(_document(summaries, audited, verdict), ensure_ascii=False, indent=2))
        return verdict
    if not summaries:
        console.print("There is no such pipeline in the database.")
        return verdict
    if partitions:
        console.print(ledger_table(line for one in summaries for line in one.lines))
    else:
        console.print(pipelines_table(summaries, datetime.now(UTC)))
    for one in audited:
        console.print()
        console.print(books_table(one))
    if audited:
        console.print(f"\nThe ledger is {styled(verdict)}.")
    return verdict


async def _gather(
    settings: Settings, scope: Scope, *, audit: bool
) -> tuple[list[Summary], list[Books]]:
    async with AsyncExitStack() as stack:
        sql = await stack.enter_async_context(database.reading(settings.require_database()))
        if not (audit or settings.kafka):
            return await _summaries(sql, await sql.lines(*scope.owner), scope), []
        kafka = await stack.enter_async_context(log.reading(settings.require_kafka()))
        if not audit:
            lines = await books.with_log_ends(await sql.lines(*scope.owner), kafka)
            return await _summaries(sql, lines, scope), []
        return await _audited(sql, kafka, scope)


async def _audited(sql: Database, kafka: Log, scope: Scope) -> tuple[list[Summary], list[Books]]:
    """The lines shown are those of the snapshot that was counted."""
    audited = [
        one
        for one in await books.gather(sql, kafka, *scope.owner)
        if scope.takes(one.namespace, one.tenant, one.pipeline)
    ]
    return await _summaries(sql, [line for one in audited for line in one.lines], scope), audited


async def _summaries(sql: Database, lines: Sequence[Line], scope: Scope) -> list[Summary]:
    own = [line for line in lines if scope.takes(line.namespace, line.tenant, line.pipeline)]
    return books.summaries(own, await sql.facts(*scope.owner))


def _document(
    summaries: Sequence[Summary], audited: Sequence[Books], verdict: Verdict
) -> Mapping[str, Any]:
    audits = {(one.namespace, one.pipeline): one for one in audited}
    return {
        "verdict": verdict.value,
        "pipelines": [
            _pipeline(one, audits.get((one.lines[0].namespace, one.lines[0].pipeline)))
            for one in summaries
        ],
    }


def _pipeline(summary: Summary, audited: Books | None) -> Mapping[str, Any]:
    first, facts = summary.lines[0], summary.facts
    document: dict[str, Any] = {
        "namespace": first.namespace,
        "tenant": first.tenant,
        "pipeline": first.pipeline,
        "topic": first.topic,
        "verdict": summary.verdict.value,
        **asdict(summary.totals),
        "dead_lettered_by_reason": facts.dead_letters,
        "oldest_unread_at": _moment(facts.oldest_unread_at),
        "last_event_at": _moment(facts.last_event_at),
        "state": facts.state,
        "reason": facts.reason,
        "partitions": [_partition(line) for line in summary.lines],
    }
    if audited is not None:
        document["audit"] = [{**asdict(check), "holds": check.holds} for check in audited.checks()]
    return document


def _partition(line: Line) -> Mapping[str, Any]:
    terms = asdict(line)
    for name in ("namespace", "tenant", "pipeline", "topic"):
        del terms[name]
    return {**terms, "in_flight": line.in_flight, "verdict": line.verdict.value}


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
