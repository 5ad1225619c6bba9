"""The operator's process: what it keeps doing beside reconciliation."""

import asyncio
from typing import cast

import pytest
from argus_operator import main
from argus_operator.adapters.postgres import Database
from argus_operator.errors import UnavailableError
from argus_operator.settings import OperatorSettings

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
