import pytest
from argus_cli.errors import MissingSettingError
from argus_cli.settings import Settings
from argus_runtime.settings import DatabaseSettings, KafkaSecurity


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ARGUS_{name.upper()}", raising=False)


@pytest.mark.parametrize(
    ("ask", "variable"),
    [
        (Settings.require_url, "ARGUS_URL"),
        (Settings.require_api_key, "ARGUS_API_KEY"),
        (Settings.require_database, "ARGUS_DATABASE_URL"),
        (Settings.require_redis, "ARGUS_REDIS_URL"),
        (Settings.require_kafka, "ARGUS_KAFKA"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_set_it(ask: object, variable: str) -> None:
    with pytest.raises(MissingSettingError, match=rf"(?s)^{variable} is not set.*make -s env"):
        ask(Settings())  # type: ignore[operator]  # a method of Settings


def test_the_environment_of_make_env_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_URL", "http://127.0.0.1:8080/")
    monkeypatch.setenv("ARGUS_KAFKA", "127.0.0.1:9094")
    monkeypatch.setenv("ARGUS_KAFKA_USERNAME", "argus")
    monkeypatch.setenv("ARGUS_KAFKA_PASSWORD", "secret")
    monkeypatch.setenv("ARGUS_REDIS_URL", "redis://:secret@127.0.0.1:6379/0")

    settings = Settings()

    assert settings.require_url() == "http://127.0.0.1:8080"
    assert settings.require_redis().url == "redis://:secret@127.0.0.1:6379/0"
    kafka = settings.require_kafka()
    assert (kafka.bootstrap, kafka.username) == ("127.0.0.1:9094", "argus")
    assert kafka.security is KafkaSecurity.SASL_PLAINTEXT
    assert "secret" not in repr(settings)


def test_the_environment_of_the_other_processes_is_read_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "ARGUS_KAFKA__BOOTSTRAP": "argus-kafka:9092",
        "ARGUS_KAFKA__SECURITY": "sasl_plaintext",
        "ARGUS_KAFKA__USERNAME": "argus",
        "ARGUS_KAFKA__PASSWORD": "secret",
        "ARGUS_DATABASE__HOST": "argus-postgres",
        "ARGUS_DATABASE__USER": "argus_reader",
        "ARGUS_DATABASE__PASSWORD": "secret",
        "ARGUS_REDIS__URL": "redis://argus-valkey:6379/0",
        "ARGUS_REDIS__PASSWORD": "secret",
    }.items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert settings.require_kafka().bootstrap == "argus-kafka:9092"
    assert settings.require_kafka().security is KafkaSecurity.SASL_PLAINTEXT
    database = settings.require_database()
    assert isinstance(database, DatabaseSettings)
    assert (database.host, database.user) == ("argus-postgres", "argus_reader")
    assert settings.require_redis().url == "redis://argus-valkey:6379/0"
    assert "secret" not in repr(settings)


def test_the_short_variables_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_KAFKA__BOOTSTRAP", "there:9092")
    monkeypatch.setenv("ARGUS_KAFKA", "here:9092")
    monkeypatch.setenv("ARGUS_DATABASE__HOST", "there")
    monkeypatch.setenv("ARGUS_DATABASE__USER", "argus_reader")
    monkeypatch.setenv("ARGUS_DATABASE__PASSWORD", "secret")
    monkeypatch.setenv("ARGUS_DATABASE_URL", "postgresql://here/argus")

    assert Settings().require_kafka().bootstrap == "here:9092"
    assert Settings().require_database() == "postgresql://here/argus"


def test_a_broker_without_a_user_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_KAFKA", "127.0.0.1:9092")

    assert Settings().require_kafka().security is KafkaSecurity.PLAINTEXT
