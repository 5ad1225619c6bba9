"""The environment that the chart gives each process is what that process reads."""

import importlib
from pathlib import Path

import pytest
from argus_cli.settings import Settings as ConsoleSettings
from argus_operator.jobs import Template
from argus_runtime.settings import DatabaseSettings, KafkaSettings, ProcessSettings
from pydantic import BaseModel

from tests.chart.helm import APPLICATIONS, PROFILES, container, of_kind, render, replay_job

matrix = pytest.mark.parametrize(
    ("profile", "component"),
    [(profile, component) for profile in PROFILES for component in APPLICATIONS],
)


def settings_class(component: str) -> type[ProcessSettings]:
    """The settings that the component's package declares."""
    module = importlib.import_module(f"argus_{component}.settings")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, ProcessSettings)
        and value.__module__ == module.__name__
    ]
    return found


def environment(profile: str, component: str) -> dict[str, str]:
    """The container's variables, a placeholder in the place of each secret."""
    deployment = of_kind("Deployment", render(*PROFILES[profile]))[f"argus-{component}"]
    variables = container(deployment["spec"]["template"]["spec"])["env"]
    assert len({variable["name"] for variable in variables}) == len(variables)
    return {found["name"]: found.get("value", "placeholder") for found in variables}


def names_a_field(model: type[BaseModel], path: list[str]) -> bool:
    """Whether nested field names lead to a field that is no section itself."""
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    section = field.annotation
    if isinstance(section, type) and issubclass(section, BaseModel):
        return len(path) > 1 and names_a_field(section, path[1:])
    return len(path) == 1


@matrix
def test_each_variable_is_a_setting(profile: str, component: str) -> None:
    model = settings_class(component)
    unknown = [
        name
        for name in environment(profile, component)
        if not names_a_field(model, name.removeprefix("ARGUS_").lower().split("__"))
    ]

    assert not unknown


@matrix
def test_the_variables_are_all_that_the_process_requires(
    profile: str, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(profile, component).items():
        monkeypatch.setenv(name, value)

    settings_class(component)()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_variables_of_a_replay_are_what_the_console_reads(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replay_job(render(*PROFILES[profile]))["spec"]["template"]["spec"]
    variables = {
        found["name"]: found.get("value", "placeholder") for found in container(spec)["env"]
    }
    sections: dict[str, type[BaseModel]] = {"kafka": KafkaSettings, "database": DatabaseSettings}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
        section, *path = name.removeprefix("ARGUS_").lower().split("__")
        assert names_a_field(sections[section], path), name
    settings = ConsoleSettings()
    database = settings.require_database()

    assert settings.require_kafka().bootstrap == variables["ARGUS_KAFKA__BOOTSTRAP"]
    assert isinstance(database, DatabaseSettings)
    assert database.user == "argus_reader"


def test_the_job_of_a_replay_is_what_the_operator_reads(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    data = of_kind("ConfigMap", render(*PROFILES["kind"]))["argus-replay"]["data"]
    file.write_text(data["job.json"])

    assert Template.load(file).namespace == "argus"


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    model = settings_class("operator")

    assert names_a_field(model, ["kafka", "bootstrap"])
    assert not names_a_field(model, ["kafka", "bootstraps"])
    assert not names_a_field(model, ["kafka"])
    assert not names_a_field(model, ["tiers", "standard"])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_tiers_are_what_the_operator_reads(profile: str) -> None:
    from argus_operator.settings import _TIERS

    data = of_kind("ConfigMap", render(*PROFILES[profile]))["argus-operator"]["data"]

    assert _TIERS.validate_json(data["tiers.json"])["standard"].per_key.rate == 5_000
