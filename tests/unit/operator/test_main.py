"""The operator's process: what it keeps doing beside reconciliation."""

import asyncio
from typing import cast

import pytest
from argus_operator import main
from argus_operator.adapters.postgres import Database
from argus_operator.errors import BusyError, UnavailableError
from argus_operator.lease import Leadership
from argus_operator.reconcile.verdict import Verdict
from argus_operator.settings import LeaseSettings, OperatorSettings

from tests.unit.operator.fakes import FakeLease
from tests.unit.operator.waiting import until

SETTINGS = OperatorSettings.model_validate(
    {
        "kafka": {"bootstrap": "kafka:9092"},
        "redis": {"url": "redis://redis"},
        "database": {"host": "postgres", "name": "argus", "user": "argus", "password": "p"},
        "stream_password": "one",
        "reader_password": "two",
    }
)


class Migrations:
    """A database that can be away, and be replaced by an empty one."""

    def __init__(self) -> None:
        self.migrated = False
        self.away = True
        self.attempts = 0
        self.given: tuple[str, ...] = ()

    async def prepare(self, *passwords: str) -> None:
        self.attempts += 1
        if self.away:
            raise UnavailableError("DatabaseUnavailable", "no answer")
        self.given = passwords
        self.migrated = True


async def test_the_database_is_migrated_when_it_comes_and_again_when_it_was_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "_RETRY_S", 0.001)
    database, tried = Migrations(), asyncio.Event()
    task = asyncio.create_task(main.keep_migrated(cast(Database, database), SETTINGS, tried))
    await until(lambda: database.attempts > 3)
    assert tried.is_set()
    assert [record.message for record in caplog.records] == ["migrations"]

    database.away = False
    await until(lambda: database.migrated)
    assert database.given == ("one", "two")

    database.migrated = False
    await until(lambda: database.migrated)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_looked_at_while_another_may_lead() -> None:
    looked: list[str] = []

    async def reconcile(key: str) -> Verdict:
        looked.append(key)
        return Verdict()

    clock, store = iter([0.0, 1.0, 10.0]), FakeLease()
    lead = Leadership(store, "a", LeaseSettings(namespace="n"), lambda: next(clock))
    checked = main.leading(lead, reconcile)
    with pytest.raises(BusyError, match="renewed"):
        await checked("early")
    await lead.take()
    await checked("good")
    with pytest.raises(BusyError, match="renewed"):
        await checked("late")

    assert looked == ["good"]
