"""`argus demo`: some seconds of believable traffic, watched on its way, then held to account.

It knows nothing that a client does not know, but for where to look: what it sent and what was
acknowledged is its own record, and everything else is counted in Kafka, SQL and Redis. It compares
what is there before with what is there after, so it can be run on a system in use.
"""

import asyncio
import itertools
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from typing import Final

from argus_contract.registry import TenantDocument
from argus_contract.times import SECOND, from_micros
from rich.console import Console

from argus_cli import books, database, live, log, registry
from argus_cli.audit import Books
from argus_cli.client import Client
from argus_cli.database import Database, Received
from argus_cli.errors import UnknownError, UnreachableError
from argus_cli.hints import hints
from argus_cli.ledger import Line, Totals, Verdict, judge, total
from argus_cli.live import Live
from argus_cli.log import Log
from argus_cli.outcome import Outcome
from argus_cli.render import books_table, checks_table, ledger_table, styled
from argus_cli.settings import Settings
from argus_cli.tally import Answer, Request, Tally
from argus_cli.traffic import Traffic

MISTAKE_EVERY_S: Final = 4
_IN_FLIGHT: Final = 64
_SETTLE_S: Final = 60.0
_COUNTED_S: Final = 15.0
_CLOCK_SLACK: Final = timedelta(hours=1)
"""How far the sender's clock may be from the servers' without hiding a row from the check."""

Counts = Mapping[str, int]
"""Events by name."""


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Demo:
    """One run and all that it looks at."""

    console: Console
    database: Database
    log: Log
    live: Live
    client: Client
    tenant: TenantDocument
    run: str
    started: datetime
    tally: Tally

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Names of the tenant's pipelines."""
        return tuple(pipeline.name for pipeline in self.tenant.pipelines)

    async def lines(self) -> list[Line]:
        """The tenant's ledger now, with the log's ends by the broker."""
        own = await self.database.lines(self.tenant.namespace, self.tenant.name)
        return await books.with_log_ends(own, self.log)

    async def send(self, traffic: Traffic, seconds: int) -> None:
        """Sends a second's worth each second; one batch goes out a second time."""
        gate = asyncio.Semaphore(_IN_FLIGHT)
        start = time.monotonic()
        repeat: Request | None = None
        async with asyncio.TaskGroup() as group:
            for second in range(seconds):
                mistake = second % MISTAKE_EVERY_S == 1
                requests = list(traffic.second(with_mistake=mistake))
                if second == 0:
                    repeat = max(requests, key=lambda request: len(request.ids))
                if second == seconds * 2 // 3 and repeat is not None:
                    requests.append(repeat)
                for number, request in enumerate(requests):
                    due = start + second + number / len(requests)
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await gate.acquire()
                    sending = group.create_task(self.send_one(request))
                    sending.add_done_callback(lambda _: gate.release())

    async def send_one(self, request: Request) -> Answer:
        """Sends, and notes in the tally what came of it."""
        answer = await self.client.send(request)
        self.tally.note(request, answer)
        return answer

    async def watch(self, before: Totals) -> None:
        """Prints a line a second, for ever."""
        for second in itertools.count(1):
            await asyncio.sleep(1)
            now = total(await self.lines())
            self.console.print(self._progress(second, now, before, await self._counted()))

    async def _counted(self) -> int:
        seconds = range(floor(self.started.timestamp()), floor(time.time()) + 1)
        return sum((await self.live.counted(self.tenant.id, self.pipelines, seconds)).values())

    def _progress(self, second: int, now: Totals, before: Totals, counted: int) -> str:
        moved = now - before
        return (
            f"{second:4} s   accepted {self.tally.accepted:7,}   stored {moved.stored:7,}"
            f"   dead-lettered {moved.dead_lettered:3,}   duplicate {moved.duplicate:4,}"
            f"   counted live {counted:7,}   in flight {now.in_flight:5,}"
        )

    async def outcome(self, moved: Totals) -> Outcome:
        """Counts this run's rows, letters and live counts, apart from the ledger."""
        since = self.started - _CLOCK_SLACK
        found = [
            await self.database.received(pipeline, since, self.tally.accepted_ids)
            for pipeline in self.tenant.pipelines
        ]
        received, counted = await self._counts([one for one in found if one.rows])
        return Outcome(
            tally=self.tally,
            moved=moved,
            rows=sum(one.rows for one in found),
            letters=await self._letters(),
            live=counted,
            received=received,
        )

    async def _counts(self, found: list[Received]) -> tuple[Counts, Counts]:
        """Rows and live counts of the whole seconds of receipt; Redis follows SQL in a moment."""
        moments = [moment for one in found for moment in (one.first, one.last) if moment]
        if not moments:
            return {}, {}
        seconds = range(floor(min(moments).timestamp()), floor(max(moments).timestamp()) + 1)
        start, end = from_micros(seconds[0] * SECOND), from_micros(seconds.stop * SECOND)
        deadline = time.monotonic() + _COUNTED_S
        while True:
            received = Counter[str]()
            for pipeline in self.tenant.pipelines:
                received.update(await self.database.between(pipeline, start, end))
            counted = await self.live.counted(self.tenant.id, self.pipelines, seconds)
            if counted == received or time.monotonic() > deadline:
                return received, counted
            await asyncio.sleep(0.25)

    async def _letters(self) -> int:
        """Letters of this run, by the mark in their bytes; copies are one."""
        mark = self.run.encode()
        found = [
            letter.key
            for pipeline in self.tenant.pipelines
            async for letter in self.log.letters(pipeline.dead_letter_topic)
            if mark in letter.value
        ]
        return len(set(found))


@asynccontextmanager
async def prepared(settings: Settings, console: Console) -> AsyncIterator[Demo]:
    """Connects to everything and finds the key's tenant; raises CliError where it cannot."""
    kafka = settings.require_kafka()
    key = settings.require_api_key()
    tenant = await registry.tenant_of(key, kafka, settings.registry_topic)
    if not tenant.pipelines:
        raise UnknownError(f"tenant {tenant.display} has no pipeline, so it takes no events yet")
    async with AsyncExitStack() as stack:
        yield Demo(
            console=console,
            database=await stack.enter_async_context(database.reading(settings.require_database())),
            log=await stack.enter_async_context(log.reading(kafka)),
            live=await stack.enter_async_context(live.reading(settings.require_redis())),
            client=await stack.enter_async_context(Client(settings.require_url(), key)),
            tenant=tenant,
            run=uuid.uuid4().hex[:12],
            started=from_micros(now_us()),
            tally=Tally(),
        )


async def demonstrate(settings: Settings, console: Console, *, seconds: int, rate: int) -> bool:
    """The whole demonstration; False where anything does not balance."""
    async with prepared(settings, console) as demo:
        url = settings.require_url()
        console.print(
            f"[bold]Sending {seconds} s of traffic[/] to {url} as tenant "
            f"{demo.tenant.display}: visitors from 240 addresses, API latencies and health "
            f"metrics in batches, a mistake every {MISTAKE_EVERY_S} s, one batch twice."
        )
        before = total(await demo.lines())
        await _run(demo, Traffic(demo.run, rate, seed=now_us(), clock=now_us), seconds, before)
        ended = await books.balanced(
            demo.database, demo.log, demo.tenant.namespace, demo.tenant.name, _SETTLE_S
        )
        outcome = await demo.outcome(total(ended) - before)
        audited = await books.gather(
            demo.database, demo.log, demo.tenant.namespace, demo.tenant.name
        )
        sound = _report(console, outcome, ended, audited)
        console.print(hints(url, settings.require_api_key(), demo.tenant), soft_wrap=True)
        return sound


async def _run(demo: Demo, traffic: Traffic, seconds: int, before: Totals) -> None:
    first = next(traffic.second(with_mistake=False))
    answer = await demo.send_one(first)
    if not answer.acknowledged:
        raise UnreachableError(
            "ingest", f"the first request was answered {answer.status}: {answer.detail}"
        )
    watching = asyncio.create_task(demo.watch(before), name="watch")
    sending = asyncio.create_task(demo.send(traffic, seconds), name="send")
    try:
        await asyncio.wait({watching, sending}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        await sending
    finally:
        for task in (watching, sending):
            task.cancel()
        await asyncio.wait({watching, sending})


def _report(console: Console, outcome: Outcome, lines: list[Line], audited: list[Books]) -> bool:
    console.print("\n[bold]The ledger[/]")
    console.print(ledger_table(lines))
    console.print()
    console.print(checks_table("What the sender saw against what ARGUS has", outcome.checks()))
    for one in audited:
        console.print()
        console.print(books_table(one))
    sound = (
        all(check.holds for check in outcome.checks())
        and judge(line.verdict for line in lines) is Verdict.BALANCED
        and judge(one.verdict for one in audited) is not Verdict.UNBALANCED
    )
    verdict = Verdict.BALANCED if sound else Verdict.UNBALANCED
    console.print(f"\nThe ledger is {styled(verdict)}.")
    return sound
