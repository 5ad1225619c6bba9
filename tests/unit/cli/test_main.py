import sys

import pytest
from argus_cli import main
from argus_cli.errors import BlockedError
from argus_cli.settings import Settings

SHOW = ["dlq", "show"]
COMMANDS = [
    ["demo"],
    ["dlq", "ls"],
    ["dlq", "replay"],
    SHOW,
    ["doctor"],
    ["ledger"],
    ["send"],
    ["tail"],
]


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


@pytest.mark.parametrize("command", [[], ["dlq"], *COMMANDS])
def test_every_command_has_help(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command, "--help") == 0
    assert " ".join(["Usage: argus", *command]) in capsys.readouterr().out


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in (["doctor"], SHOW)])
def test_a_missing_variable_is_one_line_of_advice(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command) == 2

    error = capsys.readouterr().err
    assert error.startswith("argus: ARGUS_")
    assert "Traceback" not in error


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARGUS_KAFKA_MECHANISM", "GUESS")

    assert run(monkeypatch, "ledger") == 2
    assert "kafka_mechanism" in capsys.readouterr().err


def test_what_is_not_configured_is_not_asked_and_not_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)

    assert run(monkeypatch, "doctor") == 0
    printed = capsys.readouterr().out
    for variable in ("ARGUS_URL", "ARGUS_KAFKA", "ARGUS_REDIS_URL", "ARGUS_DATABASE_URL"):
        assert f"{variable} is not set" in printed


def test_a_key_that_is_none_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "dlq", "show", "somewhere") == 2
    assert "topic/partition/offset" in capsys.readouterr().err


def test_a_time_that_is_none_is_refused_with_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "dlq", "ls", "--since", "yesterday") == 2
    assert "2026-01-31T12:00:00Z" in capsys.readouterr().err


def test_a_reason_that_does_not_exist_is_refused_with_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "dlq", "ls", "--reason", "bad") == 2
    assert "too_old" in capsys.readouterr().err


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


def test_an_error_has_the_exit_code_of_its_kind_and_its_notes_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        error = BlockedError("shop/a: not read")
        error.add_note("report cannot be written")
        raise error

    monkeypatch.setattr(main, "app", fail)

    assert run(monkeypatch) == 1
    assert capsys.readouterr().err == "argus: shop/a: not read\nargus: report cannot be written\n"
