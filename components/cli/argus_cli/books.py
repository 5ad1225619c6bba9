"""Gathers the books of every pipeline from SQL and Kafka for the audit."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from argus_cli.audit import Books, Recorded
from argus_cli.database import Counted, Database, Snapshot
from argus_cli.ledger import Facts, Line, Summary
from argus_cli.log import Log


async def with_log_ends(lines: list[Line], log: Log) -> list[Line]:
    """The same lines with the log's end as the broker says now instead of the last sample.

    SQL was read first, so an end that lies before what was read means a log that was cut.
    """
    ends = await log.ends((line.topic, line.partition) for line in lines)
    return [
        replace(line, log_end=ends.get((line.topic, line.partition), line.log_end))
        for line in lines
    ]


def summaries(lines: list[Line], facts: Mapping[tuple[str, str], Facts]) -> list[Summary]:
    """The lines by pipeline, with what is known of each."""
    grouped: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        grouped.setdefault((line.namespace, line.pipeline), []).append(line)
    return [Summary(own, facts[name]) for name, own in grouped.items() if name in facts]


async def gather(
    database: Database, log: Log, namespace: str | None = None, tenant: str | None = None
) -> list[Books]:
    """The books of all pipelines, or of one tenant's; counts rows and reads letters."""
    snapshot = await database.snapshot(namespace, tenant)
    lines = await with_log_ends(list(snapshot.lines), log)
    return [await _books(counted, lines, snapshot, log) for counted in snapshot.counted]


async def _books(counted: Counted, lines: list[Line], snapshot: Snapshot, log: Log) -> Books:
    own = tuple(
        line
        for line in lines
        if (line.namespace, line.tenant, line.pipeline)
        == (counted.namespace, counted.tenant, counted.pipeline)
    )
    recorded: dict[str, Recorded] = {}
    for topic in {line.topic for line in own}:
        recorded |= snapshot.recorded[topic]
    topic, kept = counted.dead_letter_topic, counted.dead_letter_retention
    return Books(
        namespace=counted.namespace,
        tenant=counted.tenant,
        pipeline=counted.pipeline,
        lines=own,
        rows=counted.rows,
        letters_expired=counted.letters_expired,
        recorded=recorded,
        letters=await log.written(topic),
        letter_retention=await log.retention(topic, kept),
        now=snapshot.now,
    )


async def balanced(
    database: Database, log: Log, namespace: str, tenant: str, timeout: float
) -> list[Line]:
    """Waits until the tenant's log is read to its end; gives the lines as they stand then.

    After `timeout` seconds it gives them as they are, in flight or not: the caller judges.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        lines = await with_log_ends(await database.lines(namespace, tenant), log)
        if all(line.in_flight <= 0 for line in lines) or loop.time() > deadline:
            return lines
        await asyncio.sleep(0.25)
