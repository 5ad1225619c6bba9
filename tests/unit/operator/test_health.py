"""What status, conditions and events tell of how a pipeline fares."""

from datetime import UTC, datetime, timedelta

import pytest
from argus_contract.states import State
from argus_operator.ledger import Audit
from argus_operator.models.common import PAUSED
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.health import Health
from argus_operator.resources import Pipeline

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import SHOP, WEB, World

THEN = datetime(2026, 5, 1, 11, 0, 0, 123_456, tzinfo=UTC)


def health(world: World) -> tuple[str, str]:
    return world.cluster.condition(PIPELINES, WEB, "Healthy")


class TestHealthy:
    async def test_before_the_stream_has_reported_it_is_unknown(self, running: World) -> None:
        running.write_ledger(state=None)
        await running.look()

        assert health(running) == ("Unknown", "NotReadYet")

    async def test_a_pipeline_whose_partitions_are_open_is_healthy(self, running: World) -> None:
        assert health(running) == ("True", "AsExpected")

    async def test_a_stream_that_stays_silent_is_a_fault(self, running: World) -> None:
        running.write_ledger(state=None)
        for _ in range(4):
            await running.look()

        assert health(running) == ("False", "StreamSilent")
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_an_operator_that_restarts_does_not_forget_the_silence(
        self, running: World
    ) -> None:
        running.write_ledger(state=None)
        for _ in range(4):
            await running.look()
        raw = running.cluster.stored[(PIPELINES, NAMESPACE, WEB)]
        restarted = Health(Bookkeeper(running.database))

        standing = await restarted.of(Pipeline.parse(raw))
        assert standing.finding.reason == "StreamSilent"

    @pytest.mark.parametrize(
        ("state", "reason"),
        [(State.PAUSED, "StorePaused"), (State.GUARDED, "GuardTripped")],
    )
    async def test_what_stands_still_is_told_and_still_accepts(
        self, running: World, state: State, reason: str
    ) -> None:
        running.write_ledger(state=state, reason="the disk is full")
        await running.look()

        assert health(running) == ("False", reason)
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_a_stopped_partition_is_neither_healthy_nor_ready(self, running: World) -> None:
        running.write_ledger(state=State.STOPPED, reason="the log ends at 3")
        await running.look()

        assert health(running) == ("False", "PartitionStopped")
        assert running.ready(PIPELINES, WEB) == ("False", "PartitionStopped")
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("True", "Applied")
        [ready] = (
            item["message"]
            for item in running.cluster.status(PIPELINES, WEB)["conditions"]
            if item["type"] == "Ready"
        )
        assert "refused with 503 while a log ends before what was read of it" in ready

    async def test_lost_records_are_told_and_do_not_stop_it(self, running: World) -> None:
        running.write_ledger(lost=3, balanced=False)
        await running.look()

        assert health(running) == ("False", "RecordsLost")
        assert running.ready(PIPELINES, WEB) == ("True", "Accepting")

    async def test_without_the_ledger_it_is_unknown(self, running: World) -> None:
        running.database.error = away("DatabaseUnavailable")
        with pytest.raises(Exception, match="no answer"):
            await running.look()
        await running.reconcile()

        assert health(running) == ("Unknown", "DatabaseUnavailable")

    async def test_a_stream_that_could_not_report_is_given_time_again(self, running: World) -> None:
        running.database.error = away("DatabaseUnavailable")
        await running.reconcile()
        running.database.error = None
        running.write_ledger(state=None)
        await running.look()
        assert health(running) == ("Unknown", "NotReadYet")

        for _ in range(3):
            await running.look()
        assert health(running) == ("False", "StreamSilent")

    async def test_a_paused_pipeline_is_looked_after_all_the_same(self, running: World) -> None:
        running.write_ledger(state=State.GUARDED, reason="r", in_flight=5)
        running.pipeline(annotations={PAUSED: "true"})
        await running.look()

        assert health(running) == ("False", "GuardTripped")
        assert running.cluster.status(PIPELINES, WEB)["lag"] == 5
        assert running.cluster.condition(PIPELINES, WEB, "Synced") == ("False", "Paused")

    async def test_so_is_one_of_a_paused_tenant(self, running: World) -> None:
        running.write_ledger(state=State.GUARDED, reason="r")
        running.tenant(annotations={PAUSED: "true"})
        await running.look()

        assert health(running) == ("False", "GuardTripped")


class TestEvents:
    async def test_a_turn_is_told_once_and_its_end_too(self, running: World) -> None:
        running.write_ledger(state=State.GUARDED, reason="do this")
        for _ in range(2):
            await running.look()
        running.write_ledger(state=State.OPEN)
        for _ in range(2):
            await running.look()

        told = [event[1:3] for event in running.cluster.events if event[0] == WEB]
        assert told == [
            ("Normal", "Accepting"),
            ("Warning", "GuardTripped"),
            ("Normal", "AsExpected"),
        ]
        assert any("do this" in note for note in running.cluster.notes(WEB))

    async def test_another_reason_is_news(self, running: World) -> None:
        running.write_ledger(state=State.GUARDED, reason="r")
        await running.look()
        running.write_ledger(state=State.PAUSED, reason="r")
        await running.look()

        assert running.cluster.told(WEB)[-2:] == ["GuardTripped", "StorePaused"]


class TestFigures:
    async def test_the_status_has_what_the_ledger_says(self, running: World) -> None:
        running.write_ledger(
            stored=60,
            dead_lettered=3,
            by_reason={"too_old": 1, "refused": 2},
            in_flight=7,
            last_event_at=THEN,
            oldest_unread_at=THEN + timedelta(seconds=1),
        )
        await running.look()
        status = running.cluster.status(PIPELINES, WEB)

        assert status["lag"] == 7
        assert status["rates"] == {"storedPerSecond": 2, "deadLettersPerSecond": 0.1}
        assert status["lastEventAt"] == "2026-05-01T11:00:00Z"
        assert status["oldestUnreadAt"] == "2026-05-01T11:00:01Z"
        assert status["deadLetters"] == {
            "total": 3,
            "reasons": [{"reason": "refused", "count": 2}, {"reason": "too_old", "count": 1}],
        }

    async def test_what_there_is_no_more_leaves_the_status(self, running: World) -> None:
        running.write_ledger(oldest_unread_at=THEN)
        await running.look()
        running.write_ledger(oldest_unread_at=None)
        await running.look()

        assert "oldestUnreadAt" not in running.cluster.status(PIPELINES, WEB)

    async def test_an_idle_pipeline_is_not_written(self, running: World) -> None:
        running.write_ledger(stored=10, last_event_at=THEN)
        for _ in range(2):
            await running.look()
        writes = running.cluster.status_writes
        for _ in range(3):
            await running.look()

        assert running.cluster.status_writes == writes

    async def test_a_round_asks_once_for_all(self, running: World) -> None:
        running.pipeline("other", {"match": ["x"]})
        await running.settle()
        running.database.asked.clear()
        await running.look()

        assert running.database.asked == [None]

    async def test_figures_stay_as_they_were_while_the_ledger_is_away(self, running: World) -> None:
        running.write_ledger(in_flight=7)
        await running.look()
        before = running.cluster.status(PIPELINES, WEB)
        running.database.error = away("DatabaseUnavailable")
        with pytest.raises(Exception, match="no answer"):
            await running.look()
        await running.reconcile()

        after = running.cluster.status(PIPELINES, WEB)
        assert {**after, "conditions": None} == {**before, "conditions": None}


class TestAudit:
    async def test_what_an_audit_found_is_in_status_and_condition(self, running: World) -> None:
        found = Audit(THEN, False, "rows 1 ≠ stored 2")
        running.keeper.audited(running.uid(PIPELINES, WEB), found)
        await running.reconcile()

        assert running.cluster.status(PIPELINES, WEB)["audit"] == {
            "checkedAt": "2026-05-01T11:00:00Z",
            "balanced": False,
            "message": "rows 1 ≠ stored 2",
        }
        assert health(running) == ("False", "Unbalanced")
        assert (WEB, "Warning", "Unbalanced") in {event[:3] for event in running.cluster.events}

    async def test_a_tenant_has_no_health(self, running: World) -> None:
        types = {
            item["type"] for item in running.cluster.status("argustenants", SHOP)["conditions"]
        }

        assert "Healthy" not in types
