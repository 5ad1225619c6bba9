import sys

import pytest
from argus_cli import main
from argus_cli.settings import Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ARGUS_{name.upper()}", raising=False)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["argus", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("command", [[], ["demo"], ["ledger"], ["send"]])
def test_every_command_has_help(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command, "--help") == 0
    assert "Usage: argus" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "ledger", "send"])
def test_a_missing_variable_is_one_line_of_advice(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, command) == 2

    error = capsys.readouterr().err
    assert error.startswith("argus: ARGUS_")
    assert "Traceback" not in error


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARGUS_KAFKA_MECHANISM", "GUESS")

    assert run(monkeypatch, "ledger") == 2
    assert "kafka_mechanism" in capsys.readouterr().err


def test_a_tenant_without_its_namespace_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "ledger", "--tenant", "shop") == 2
    assert "namespace/name" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARGUS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    assert run(monkeypatch, "ledger") == 2
    assert "cannot be reached" in capsys.readouterr().err
