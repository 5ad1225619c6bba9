"""Settings are validated whole, from the environment, and keep secrets to themselves."""

import pytest
from argus_runtime.settings import KafkaSettings, ProcessSettings, load
from pydantic import ValidationError


class Settings(ProcessSettings):
    """A component's settings."""

    kafka: KafkaSettings


def test_sections_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_KAFKA__BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("ARGUS_KAFKA__SECURITY", "sasl_ssl")
    monkeypatch.setenv("ARGUS_KAFKA__PASSWORD", "hush")
    monkeypatch.setenv("ARGUS_OPS__PORT", "0")
    settings = Settings()
    assert settings.kafka.bootstrap == "broker:9092"
    assert settings.ops.port == 0
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ARGUS_KAFKA__SECURITY", "tls", "sasl_ssl"),
        ("ARGUS_KAFKA__COLOUR", "red", "colour"),
        ("ARGUS_LOG__LEVEL", "LOUD", "level"),
        ("ARGUS_OPS__PORT", "70000", "65535"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("ARGUS_KAFKA__BOOTSTRAP", "broker:9092")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=says):
        Settings()


@pytest.mark.parametrize(
    "wrong", ["ARGUS_KAFKA__SECURITY", "ARGUS_KAFKA__COLOUR", "ARGUS_OPS__PORT"]
)
def test_what_is_said_of_wrong_settings_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("ARGUS_KAFKA__PASSWORD", "hush")
    monkeypatch.setenv(wrong, "hush")
    with pytest.raises(ValidationError) as refused:
        Settings()

    assert "bootstrap" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_every_setting_is_documented() -> None:
    undocumented = [
        f"{section.__name__}.{name}"
        for section in (KafkaSettings, ProcessSettings)
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    ("name", "value"), [("ARGUS_KAFKA__PASSWORD", "hush"), ("ARGUS_KAFKA", "{hush")]
)
def test_a_process_with_wrong_settings_says_so_without_their_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(Settings, "argus-thing")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("argus-thing cannot start")
    assert "kafka" in said
    assert "hush" not in said
