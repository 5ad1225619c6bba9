"""The periodic audit: one pipeline after another, the longest not audited first."""

import asyncio
from datetime import timedelta

import pytest
from argus_operator import audits
from argus_operator.audits import Auditor
from argus_operator.ledger import Audit
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.resources import Family
from argus_operator.settings import AuditSettings

from tests.unit.operator.fakes import away
from tests.unit.operator.waiting import until
from tests.unit.operator.world import FAMILY, WEB, World

HOUR = AuditSettings(interval=3_600)


class Bench:
    """An auditor over a world, and whom it woke."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.woken: list[Family] = []
        self.auditor = Auditor(world.database, world.keeper, self.woken.append, HOUR)

    def due(self) -> str | None:
        books = self.auditor.due()
        return None if books is None else books.pipeline

    async def until(self, woken: int) -> None:
        task = asyncio.create_task(self.auditor.run())
        await until(lambda: len(self.woken) >= woken)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
async def bench(running: World) -> Bench:
    running.pipeline("other", {"match": ["x"]})
    await running.settle()
    await running.look()
    return Bench(running)


async def test_each_is_audited_once_an_interval_and_its_family_hears_of_it(bench: Bench) -> None:
    await bench.until(woken=2)

    assert bench.woken == [FAMILY, FAMILY]
    assert bench.due() is None
    bench.world.now += timedelta(hours=1)
    await bench.world.look()
    assert bench.due() is not None


async def test_the_longest_not_audited_comes_first(bench: Bench) -> None:
    for age, name in ((2, "other"), (3, WEB)):
        uid = bench.world.uid(PIPELINES, name)
        at = bench.world.now - timedelta(hours=age)
        bench.world.keeper.audited(uid, Audit(at, True, "m"))

    assert bench.due() == WEB


async def test_one_that_never_was_audited_comes_before_all(bench: Bench) -> None:
    uid = bench.world.uid(PIPELINES, WEB)
    bench.world.keeper.audited(uid, Audit(bench.world.now - timedelta(days=9), True, "m"))

    assert bench.due() == "other"


async def test_a_failed_audit_holds_up_no_other_and_is_tried_again_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "_IDLE_S", 0.001)
    bench.world.database.error = away("DatabaseUnavailable")
    task = asyncio.create_task(bench.auditor.run())
    await until(lambda: bench.due() is None)
    assert not bench.woken

    bench.world.database.error = None
    monkeypatch.setattr(audits, "_RETRY_S", 0.0)
    await until(lambda: len(bench.woken) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disagreement_is_logged_as_an_error(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    uid = bench.world.uid(PIPELINES, WEB)
    bench.world.database.audits[uid] = Audit(bench.world.now, False, "rows 1 ≠ stored 2")
    await bench.until(woken=2)

    assert [record.levelname for record in caplog.records if record.message == "audit"] == ["ERROR"]


class Counts:
    """What one audit after another finds of a pipeline; the last goes on for ever."""

    def __init__(self, world: World, *verdicts: bool) -> None:
        self.made = 0
        self._world = world
        self._verdicts = verdicts

    async def audit(self, uid: str, timeout: float) -> Audit | None:
        verdict = self._verdicts[min(self.made, len(self._verdicts) - 1)]
        self.made += 1
        return Audit(self._world.now, verdict, f"count {self.made}")


async def single(bench: Bench, monkeypatch: pytest.MonkeyPatch, *verdicts: bool) -> Counts:
    """Leaves one pipeline to be audited, whose counts are these."""
    await bench.world.database.drop_pipeline(bench.world.uid(PIPELINES, "other"))
    await bench.world.keeper.refresh()
    counts = Counts(bench.world, *verdicts)
    monkeypatch.setattr(bench.world.database, "audit", counts.audit)
    return counts


@pytest.mark.parametrize(
    ("verdicts", "made"), [((True,), 1), ((False, True), 2), ((False, False), 2)]
)
async def test_a_disagreement_is_told_only_once_a_second_count_has_found_it_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verdicts: tuple[bool, ...], made: int
) -> None:
    counts = await single(bench, monkeypatch, *verdicts)
    await bench.until(woken=1)

    assert counts.made == made
    entry = await bench.world.keeper.of(bench.world.uid(PIPELINES, WEB))
    assert entry is not None
    assert entry.audit is not None
    assert (entry.audit.balanced, entry.audit.message) == (verdicts[-1], f"count {made}")


@pytest.mark.parametrize("interval", [3_600, 60])
async def test_a_pipeline_that_disagrees_is_audited_again_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    await single(bench, monkeypatch, True)
    bench.auditor = Auditor(
        bench.world.database,
        bench.world.keeper,
        bench.woken.append,
        AuditSettings(interval=interval),
    )
    soon = timedelta(seconds=min(interval, 900))
    uid, at = bench.world.uid(PIPELINES, WEB), bench.world.database.now
    bench.world.keeper.audited(uid, Audit(at, False, "m"))
    assert bench.due() is None

    bench.world.database.now = at + soon
    await bench.world.keeper.refresh()
    assert bench.due() == WEB

    bench.world.keeper.audited(uid, Audit(at + soon - timedelta(seconds=30), True, "m"))
    assert bench.due() is None


async def test_a_pipeline_that_has_just_gone_is_no_longer_asked_about(bench: Bench) -> None:
    for name in ("other", WEB):
        await bench.world.database.drop_pipeline(bench.world.uid(PIPELINES, name))
    task = asyncio.create_task(bench.auditor.run())
    await until(lambda: bench.due() is None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not bench.woken
