"""The ledger of all pipelines: read once, remembered, shown as metrics."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argus_contract.states import State
from argus_operator import ledger
from argus_operator.ledger import Audit, Rates
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.reconcile.bookkeeping import Bookkeeper
from prometheus_client import REGISTRY

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import SHOP, WEB, World

THEN = datetime(2026, 5, 1, tzinfo=UTC)


def metric(name: str, **labels: str) -> float | None:
    whose = {"namespace": NAMESPACE, "tenant": SHOP, "pipeline": WEB} | labels
    return REGISTRY.get_sample_value(f"argus_operator_{name}", whose)


@pytest.fixture
async def keeper(running: World) -> Bookkeeper:
    return Bookkeeper(running.database)


class TestOf:
    async def test_a_pipeline_younger_than_the_last_look_is_asked_for(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        await keeper.refresh()
        running.pipeline("young", {"match": ["x"]})
        await running.settle()
        young = running.uid(PIPELINES, "young")
        running.database.asked.clear()
        found = [await keeper.of(young) for _ in range(2)]

        assert [entry and entry.books.uid for entry in found] == [young, young]
        assert running.database.asked == [young]

    async def test_what_postgresql_does_not_know_is_none(self, keeper: Bookkeeper) -> None:
        await keeper.refresh()

        assert await keeper.of("nobody") is None

    async def test_after_a_failed_look_nothing_old_is_told(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        uid = running.uid(PIPELINES, WEB)
        await keeper.refresh()
        running.database.error = away("DatabaseUnavailable")
        for asked in (keeper.refresh(), keeper.of(uid)):
            with pytest.raises(Exception, match="no answer"):
                await asked

        running.database.error = None
        running.write_ledger(stored=5)
        entry = await keeper.of(uid)
        assert entry is not None
        assert entry.books.stored == 5

    async def test_a_rate_outlives_a_look_that_tells_none(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        uid = running.uid(PIPELINES, WEB)
        await keeper.refresh()
        running.database.now += timedelta(seconds=10)
        running.write_ledger(stored=50)
        for _ in range(2):
            await keeper.refresh()

        entry = await keeper.of(uid)
        assert entry is not None
        assert entry.rates == Rates(5, 0)


class TestAudits:
    @staticmethod
    def status(running: World, **audit: Any) -> dict[str, Any]:
        uid = running.uid(PIPELINES, WEB)
        return {"metadata": {"uid": uid}, "status": {"audit": audit} if audit else {}}

    async def test_an_earlier_process_audit_is_recalled(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        said = {"checkedAt": "2026-05-01T00:00:00Z", "balanced": False, "message": "m"}
        keeper.recall([self.status(running, **said)])
        await keeper.refresh()
        entry = await keeper.of(running.uid(PIPELINES, WEB))

        assert entry is not None
        assert entry.audit == Audit(THEN, False, "m")

    async def test_what_somebody_wrote_by_hand_is_none(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        keeper.recall([self.status(running, checkedAt="yesterday")])
        await keeper.refresh()
        entry = await keeper.of(running.uid(PIPELINES, WEB))

        assert entry is not None
        assert entry.audit is None

    async def test_a_newer_one_is_not_overruled_by_a_status_that_lags_behind(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        uid = running.uid(PIPELINES, WEB)
        keeper.recall([self.status(running)])
        await keeper.refresh()
        keeper.audited(uid, Audit(THEN, True, "new"))
        keeper.recall([self.status(running)])
        await keeper.refresh()
        entry = await keeper.of(uid)

        assert entry is not None
        assert entry.audit == Audit(THEN, True, "new")

    async def test_where_no_audits_are_made_an_old_verdict_counts_no_more(
        self, running: World
    ) -> None:
        said = {"checkedAt": "2026-05-01T00:00:00Z", "balanced": False, "message": "m"}
        keeper = Bookkeeper(running.database, audits=False)
        keeper.recall([self.status(running, **said)])
        await keeper.refresh()
        entry = await keeper.of(running.uid(PIPELINES, WEB))

        assert entry is not None
        assert entry.audit is None
        assert ledger.troubles(entry.books, entry.audit) == []
        assert metric("audit_balanced") is None
        assert metric("audit_timestamp_seconds") is None

    async def test_only_what_was_recalled_can_be_audited(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        await keeper.refresh()
        assert keeper.auditable() == []

        keeper.recall([self.status(running)])
        assert [entry.books.pipeline for entry in keeper.auditable()] == [WEB]


class TestMetrics:
    async def test_they_say_what_the_ledger_says(self, running: World, keeper: Bookkeeper) -> None:
        running.write_ledger(
            log_start=5,
            log_end=30,
            stored=10,
            duplicate=2,
            dead_lettered=4,
            skipped=1,
            lost=3,
            expired=6,
            in_flight=5,
            balanced=False,
            by_reason={"too_old": 4},
            state=State.GUARDED,
            oldest_unread_at=running.database.now - timedelta(seconds=9),
        )
        await keeper.refresh()

        terms = ("stored", "duplicate", "dead_lettered", "skipped", "lost", "expired")
        assert [metric("ledger_records", term=term) for term in terms] == [10, 2, 4, 1, 3, 6]
        assert metric("ledger_log_end_records") == 25
        assert metric("ledger_in_flight_records") == 5
        assert metric("ledger_oldest_unread_seconds") == 9
        assert metric("ledger_balanced") == 0
        assert metric("dead_letters", code="too_old") == 4
        states = ("open", "paused", "guarded", "stopped")
        assert [metric("pipeline_state", state=state) for state in states] == [0, 0, 1, 0]
        assert metric("audit_balanced") is None

    async def test_an_audit_is_shown_at_once(self, running: World, keeper: Bookkeeper) -> None:
        uid = running.uid(PIPELINES, WEB)
        keeper.recall([{"metadata": {"uid": uid}}])
        await keeper.refresh()
        keeper.audited(uid, Audit(THEN, False, "m"))

        assert metric("audit_balanced") == 0

    async def test_an_audit_that_does_not_come_to_an_end_grows_old(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        uid, began = running.uid(PIPELINES, WEB), running.database.now
        keeper.recall([{"metadata": {"uid": uid}}])
        for _ in range(2):
            await keeper.refresh()
            assert metric("audit_timestamp_seconds") == began.timestamp()
            running.database.now += timedelta(hours=1)

        keeper.audited(uid, Audit(THEN, True, "m"))
        for _ in range(2):
            assert metric("audit_timestamp_seconds") == THEN.timestamp()
            await keeper.refresh()

    async def test_they_say_how_old_they_are_pipelines_or_not(
        self, running: World, keeper: Bookkeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read() -> float | None:
            return REGISTRY.get_sample_value("argus_operator_ledger_read_timestamp_seconds")

        await running.database.drop_pipeline(running.uid(PIPELINES, WEB))
        monkeypatch.setattr("time.time", lambda: 1_000.0)
        await keeper.refresh()
        assert read() == 1_000.0

        monkeypatch.setattr("time.time", lambda: 2_000.0)
        running.database.error = away("DatabaseUnavailable")
        with pytest.raises(Exception, match="no answer"):
            await keeper.refresh()
        assert read() == 1_000.0

    async def test_those_of_a_pipeline_that_is_gone_go(
        self, running: World, keeper: Bookkeeper
    ) -> None:
        await keeper.refresh()
        assert metric("ledger_balanced") == 1

        await running.database.drop_pipeline(running.uid(PIPELINES, WEB))
        await keeper.refresh()
        assert metric("ledger_balanced") is None
        assert metric("ledger_records", term="stored") is None
