"""Settings: from the environment, validated, with defaults that fit together."""

import pytest
from argus_stream.main import main
from argus_stream.settings import (
    BatchSettings,
    MembershipSettings,
    StoreSettings,
    StreamSettings,
)
from pydantic import BaseModel

REQUIRED = {
    "ARGUS_KAFKA__BOOTSTRAP": "kafka:9092",
    "ARGUS_DATABASE__HOST": "postgres",
    "ARGUS_DATABASE__USER": "argus_stream",
    "ARGUS_DATABASE__PASSWORD": "secret",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_it_is_set_by_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ARGUS_BATCH__RECORDS", "123")
    environment.setenv("ARGUS_LETTER_TIMEOUT", "7")
    settings = StreamSettings()
    assert settings.kafka.bootstrap == "kafka:9092"
    assert (settings.batch.records, settings.letter_timeout) == (123, 7.0)


def test_postgres_gives_up_before_the_client_does(environment: pytest.MonkeyPatch) -> None:
    settings = StreamSettings()
    assert settings.store.lock_timeout < settings.store.statement_timeout
    assert settings.store.statement_timeout < settings.database.command_timeout


def test_no_step_takes_so_long_that_it_counts_as_stuck(environment: pytest.MonkeyPatch) -> None:
    settings = StreamSettings()
    database = settings.database
    letters = 2 * database.command_timeout + settings.letter_timeout
    storing = database.connect_timeout + 4 * database.command_timeout
    assert max(letters, storing) < settings.stuck_after


def test_every_setting_says_what_it_is() -> None:
    sections: list[type[BaseModel]] = [
        StreamSettings,
        MembershipSettings,
        BatchSettings,
        StoreSettings,
    ]
    undocumented = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert undocumented == []


def test_settings_that_make_no_sense_end_the_process_with_a_word(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("ARGUS_BATCH__RECORDS", "0")
    environment.delenv("ARGUS_DATABASE__HOST")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "batch.records" in said
    assert "database.host" in said
