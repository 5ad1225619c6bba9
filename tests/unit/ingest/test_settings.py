"""The edge's settings."""

import json
from ipaddress import ip_network

import pytest
from argus_ingest.settings import Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_KAFKA__BOOTSTRAP", "localhost:9092")


def test_a_broker_is_all_that_must_be_told() -> None:
    settings = Settings()
    assert settings.kafka.bootstrap == "localhost:9092"
    assert settings.http.port == 8080


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_TRUSTED_PROXIES", json.dumps(["10.0.0.0/8", "fd00::/8"]))
    monkeypatch.setenv("ARGUS_LIMITS__EVENTS", "100")
    monkeypatch.setenv("ARGUS_REPLICAS", "3")
    settings = Settings()
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (settings.limits.events, settings.replicas) == (100, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARGUS_LIMITS__EVENTS", "0"),
        ("ARGUS_LIMITS__BYTES_IN_FLIGHT", "1000"),
        ("ARGUS_PUBLISH__COMPRESSION", "rar"),
        ("ARGUS_TRUSTED_PROXIES", '["10.0.0.1/8"]'),
        ("ARGUS_FLOOD__TYPO", "1"),
    ],
)
def test_nonsense_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_every_setting_is_documented() -> None:
    undocumented = [
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if hasattr(field.annotation, "model_fields")
        for name, inner in field.annotation.model_fields.items()  # type: ignore[union-attr]
        if not inner.description
    ]
    assert undocumented == []
