"""All questions at once, and the answers in one order."""

import asyncio
import json
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from argus_cli.doctor import database, edge, kafka, pods, redis
from argus_cli.doctor.findings import Examination, Finding, State, as_document, told, wrong
from argus_cli.settings import Settings

EXAMINATIONS: Final[tuple[Examination, ...]] = (
    edge.examine,
    kafka.examine,
    redis.examine,
    database.examine,
    pods.examine,
)
_LONGEST: Final = 6
"""Questions that one dependency is asked in a row, at most."""
_STYLE: Final = {
    State.WELL: "green",
    State.NOTABLE: "yellow",
    State.WRONG: "bold red",
    State.UNASKED: "dim",
}


async def doctor(settings: Settings, console: Console, limit: float, *, as_json: bool) -> bool:
    """Prints what is found; whether nothing is wrong. `limit` is in seconds, for each question."""
    findings = await examined(settings, limit)
    if as_json:
        print(json.dumps(as_document(findings), ensure_ascii=False, indent=2))
    else:
        console.print(_table(findings))
        console.print(f"\n{_sum(findings)}")
    return not any(one.state is State.WRONG for one in findings)


async def examined(settings: Settings, limit: float) -> list[Finding]:
    """What every dependency says, in the order of EXAMINATIONS."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_collect(each, settings, limit)) for each in EXAMINATIONS]
    return [finding for task in tasks for finding in task.result()]


async def _collect(examination: Examination, settings: Settings, limit: float) -> list[Finding]:
    """Whatever was found before the time was up is told."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(_LONGEST * limit):
            async for finding in examination(settings, limit):
                found.append(finding)
    except TimeoutError:
        subject = examination.__module__.rpartition(".")[2]
        said = f"not all questions were answered within {_LONGEST * limit:g} s"
        found.append(wrong(subject, said, "See what is said of it above, and ask again."))
    except Exception as error:  # noqa: BLE001  # told like any finding: it may hide no other
        subject = examination.__module__.rpartition(".")[2]
        said = f"a defect of this command: {told(error)}"
        found.append(wrong(subject, said, "Please report it."))
    return found


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for one in findings:
        said = escape(one.said)
        if one.advice:
            said += f"\n[dim]{escape(one.advice)}[/]"
        table.add_row(f"[{_STYLE[one.state]}]{one.state}[/]", escape(one.subject), said)
    return table


def _sum(findings: list[Finding]) -> str:
    count = sum(one.state is State.WRONG for one in findings)
    if count:
        return f"[bold red]{count} {'thing is' if count == 1 else 'things are'} wrong.[/]"
    unasked = sum(one.state is State.UNASKED for one in findings)
    return "Nothing is wrong" + (f", as far as was asked: {unasked} were not." if unasked else ".")
