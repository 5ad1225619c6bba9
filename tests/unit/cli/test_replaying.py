"""A whole run over several pipelines: what one of them, a signal or a defect does to it."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from argus_cli import database, log, registry, replaying
from argus_cli.errors import BlockedError, TerminatedError, UnknownError, UnreachableError
from argus_cli.letters import Filter, Key, Letter
from argus_cli.replay import Counts, Options, Outcome, Standing
from argus_cli.scope import Route, Scope
from argus_cli.settings import Settings
from argus_contract import headers, splice
from argus_contract.ids import new_id
from argus_contract.names import TenantId, TopicName
from argus_contract.records import Record
from argus_contract.registry import Bucket, Limits, TenantDocument
from argus_contract.rejects import Step
from rich.console import Console

from tests.unit.cli.dead_letters import PIPELINE, letter

LIMITS = Limits(per_key=Bucket(1, 1), per_ip=Bucket(1, 1))
TENANT = TenantDocument(TenantId("shop.acme"), "shop", "acme", 1, LIMITS)
LETTERS = 3


def route(name: str) -> Route:
    topic = f"argus.shop.{name}.0f3a9c21"
    changed = {"topic": TopicName(topic), "dead_letter_topic": TopicName(f"{topic}.dead")}
    return Route(TENANT, msgspec.structs.replace(PIPELINE, name=name, partitions=1, **changed))


@dataclass
class Installation:
    """Kafka and SQL: each log holds `end` records, of which SQL has settled `read`."""

    end: int = 5
    read: dict[str, int] = field(default_factory=dict)
    gone: str = ""
    """A dead-letter topic that does not exist."""
    fault: Exception | None = None
    hold: bool = False
    """Whether nothing that is published is ever settled."""
    published: list[Record] = field(default_factory=list)
    settled: dict[str, Standing] = field(default_factory=dict)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once something is published."""

    async def ends(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, self.end)

    async def positions(self, topic: str) -> dict[int, int]:
        return {0: self.read.get(topic, self.end)}

    async def standings(self, roots: Sequence[str]) -> Mapping[str, Standing]:
        return {root: self.settled[root] for root in roots if root in self.settled}

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        if self.fault is not None:
            raise self.fault
        self.published += records
        self.began.set()
        for record in () if self.hold else records:
            root = headers.get(record.headers, headers.REPLAY_OF) or b""
            self.settled[root.decode()] = Standing(2, Outcome.STORED)

    async def latest(
        self, topic: str, since: datetime | None = None
    ) -> tuple[AsyncIterator[Letter], int]:
        if topic == self.gone:
            raise UnknownError(f"Kafka has no topic {topic}")

        async def all_of_it() -> AsyncIterator[Letter]:
            now = time.time_ns() // 1_000
            value = splice.envelope(new_id(now), now, now, b'{"event":"click"}')
            for number in range(LETTERS):
                key = Key(topic.removesuffix(".dead"), 0, number)
                yield replace(letter(value, step=Step.DECODE), key=key)

        return all_of_it(), LETTERS


@pytest.fixture
def kafka_and_sql(monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = Installation()

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Any]:
        yield made

    async def pipelines(*_: object) -> list[Route]:
        return [route("a"), route("b"), route("c")]

    monkeypatch.setattr(registry, "pipelines", pipelines)
    monkeypatch.setattr(database, "reading", opened)
    monkeypatch.setattr(log, "reading", opened)
    monkeypatch.setattr(replaying, "publishing", opened)
    monkeypatch.setenv("ARGUS_KAFKA", "kafka.example:9092")
    monkeypatch.setenv("ARGUS_DATABASE_URL", "postgresql://db.example/argus")
    return made


async def run(report: Path | None = None, *, wait: float = 0.05) -> Counts:
    options = Options(rate=0, wait=wait)
    request = replaying.Request(Scope(), Filter(), options, dry=False, asks=False, report=report)
    return await replaying.replay(Settings(), Console(quiet=True), request)


def written(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.read_text())
    return found


async def test_all_pipelines_are_replayed(kafka_and_sql: Installation, tmp_path: Path) -> None:
    counts = await run(tmp_path / "report")

    assert (counts.matched, counts.stored) == (9, 9)
    assert written(tmp_path / "report")["stored"] == 9


async def test_a_pipeline_whose_log_is_not_read_holds_up_no_other(
    kafka_and_sql: Installation, tmp_path: Path
) -> None:
    kafka_and_sql.read = {route("a").pipeline.topic: 2, route("b").pipeline.topic: 0}

    with pytest.raises(BlockedError) as blocked:
        await run(tmp_path / "report")

    first, second = str(blocked.value).splitlines()
    assert first.startswith("shop/a: 3 records of its log were not read within 0.05 s")
    assert second.startswith("shop/b: 5 records of its log were not read")
    assert blocked.value.exit_code == 1
    assert len(kafka_and_sql.published) == LETTERS
    found = written(tmp_path / "report")
    assert (found["stored"], found["message"]) == (LETTERS, str(blocked.value))


async def test_so_does_one_whose_dead_letter_topic_is_gone(kafka_and_sql: Installation) -> None:
    kafka_and_sql.gone = route("b").pipeline.dead_letter_topic

    with pytest.raises(BlockedError, match=r"^shop/b: Kafka has no topic argus\.shop\.b"):
        await run()

    assert len(kafka_and_sql.published) == 2 * LETTERS


@pytest.mark.parametrize("error", [UnreachableError("Kafka", "gone"), RuntimeError("a defect")])
async def test_what_was_done_before_an_error_is_in_the_report_with_it(
    kafka_and_sql: Installation, tmp_path: Path, error: Exception
) -> None:
    kafka_and_sql.fault = error

    with pytest.raises(type(error)) as raised:
        await run(tmp_path / "report")

    assert raised.value is error
    found = written(tmp_path / "report")
    assert (found["matched"], found["replayed"]) == (LETTERS, 0)
    assert str(error) in found["message"]


@pytest.mark.parametrize("error", [UnreachableError("Kafka", "gone"), RuntimeError("a defect")])
async def test_a_report_that_cannot_be_written_hides_no_error(
    kafka_and_sql: Installation, tmp_path: Path, error: Exception
) -> None:
    kafka_and_sql.fault = error

    with pytest.raises(type(error)) as raised:
        await run(tmp_path)

    assert raised.value is error
    assert any("cannot be written" in note for note in raised.value.__notes__)


async def test_sigterm_ends_it_with_a_report(kafka_and_sql: Installation, tmp_path: Path) -> None:
    kafka_and_sql.hold = True
    running = asyncio.create_task(run(tmp_path / "report", wait=60))
    async with asyncio.timeout(5):
        await kafka_and_sql.began.wait()

    os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TerminatedError) as ended:
        await running
    assert ended.value.exit_code == 143
    found = written(tmp_path / "report")
    assert (found["replayed"], found["stored"]) == (LETTERS, 0)
    assert "run it again" in found["message"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_cancellation_stays_cancellation_and_leaves_a_report(
    kafka_and_sql: Installation, tmp_path: Path
) -> None:
    kafka_and_sql.hold = True
    running = asyncio.create_task(run(tmp_path / "report", wait=60))
    async with asyncio.timeout(5):
        await kafka_and_sql.began.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert written(tmp_path / "report")["replayed"] == LETTERS
