"""The operator's settings."""

import json
from pathlib import Path

import pytest
from argus_operator.models.common import Mode
from argus_operator.models.tenant import Quota
from argus_operator.settings import OperatorSettings
from pydantic import ValidationError

REQUIRED = {
    "ARGUS_KAFKA__BOOTSTRAP": "kafka:9092",
    "ARGUS_REDIS__URL": "redis://redis:6379/0",
    "ARGUS_DATABASE__HOST": "postgres",
    "ARGUS_DATABASE__USER": "argus",
    "ARGUS_DATABASE__PASSWORD": "p",
    "ARGUS_STREAM_PASSWORD": "s",
    "ARGUS_READER_PASSWORD": "r",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_defaults_are_the_missions_limits(environment: pytest.MonkeyPatch) -> None:
    tier = OperatorSettings().load_tiers()["standard"]

    assert (tier.per_key.rate, tier.per_ip.rate) == (5_000, 50)
    assert (tier.quota, tier.concurrency, tier.mode) == (Quota(), None, Mode.ENFORCE)


@pytest.mark.parametrize("missing", sorted(REQUIRED.keys() - {"ARGUS_REDIS__URL"}))
def test_what_is_missing_is_named(environment: pytest.MonkeyPatch, missing: str) -> None:
    environment.delenv(missing)
    field = missing.removeprefix("ARGUS_").lower().replace("__", ".").split(".")[0]

    with pytest.raises(ValidationError, match=field):
        OperatorSettings()


def test_tiers_come_from_the_environment_or_a_file(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiers = {"gold": {"perKey": {"rate": 1, "burst": 5000}, "perIP": {"rate": 2, "burst": 3}}}
    environment.setenv("ARGUS_TIERS", json.dumps(tiers))
    assert set(OperatorSettings().load_tiers()) == {"gold"}

    file = tmp_path / "tiers.json"
    file.write_text(json.dumps({"silver": {"limitServerKeysByIP": True}}))
    environment.setenv("ARGUS_TIERS_FILE", str(file))
    loaded = OperatorSettings().load_tiers()
    assert loaded["silver"].limit_server_keys_by_ip


def test_a_tier_has_quotas_concurrency_and_a_mode(environment: pytest.MonkeyPatch) -> None:
    gold = {"quota": {"daily": 0, "monthly": 10**12}, "concurrency": 7, "mode": "observe"}
    environment.setenv("ARGUS_TIERS", json.dumps({"gold": gold}))
    tier = OperatorSettings().load_tiers()["gold"]

    assert tier.quota == Quota(daily=0, monthly=10**12)
    assert (tier.concurrency, tier.mode) == (7, Mode.OBSERVE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARGUS_TIERS", '{"gold": {"perKey": {"rate": 1, "burst": 10}}}'),
        ("ARGUS_TIERS", '{"gold": {"perHour": 1}}'),
        ("ARGUS_TIERS", '{"gold": {"quota": {"hourly": 5000}}}'),
        ("ARGUS_TIERS", '{"gold": {"quota": {"daily": -1}}}'),
        ("ARGUS_TIERS", '{"gold": {"concurrency": 0}}'),
        ("ARGUS_TIERS", '{"gold": {"mode": "off"}}'),
        ("ARGUS_KAFKA_DISK_BYTES", "0"),
        ("ARGUS_MIN_INSYNC", "2"),
        ("ARGUS_RECONCILE__WORKERS", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(ValidationError):
        OperatorSettings()


def test_passwords_are_not_printed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ARGUS_STREAM_PASSWORD", "hunter2")

    assert "hunter2" not in repr(OperatorSettings())
