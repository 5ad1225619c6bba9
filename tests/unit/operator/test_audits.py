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


async def test_a_pipeline_that_has_just_gone_is_no_longer_asked_about(bench: Bench) -> None:
    for name in ("other", WEB):
        await bench.world.database.drop_pipeline(bench.world.uid(PIPELINES, name))
    task = asyncio.create_task(bench.auditor.run())
    await until(lambda: bench.due() is None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not bench.woken
