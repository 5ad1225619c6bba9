"""The deliberate defects fit the tree as it is, so that each of them can be put to the test."""

from pathlib import Path

import pytest

from hack import defects
from hack.defects import Defect, Edit, Outcome

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("defect", defects.DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_fits_the_tree(defect: Defect, tmp_path: Path) -> None:
    for file in {edit.file for edit in defect.edits}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    for edit in defect.edits:
        edit.apply(tmp_path)
        if edit.file.endswith(".py"):
            compile((tmp_path / edit.file).read_bytes(), edit.file, "exec")


@pytest.mark.parametrize("defect", defects.DEFECTS, ids=lambda defect: defect.name)
def test_the_tests_that_have_to_find_it_are_there(defect: Defect) -> None:
    for test in defect.tests:
        file, *names = test.split("::")
        text = (ROOT / file).read_text()
        assert all(f"def {name}(" in text or f"class {name}(" in text for name in names)


def test_names_are_unique() -> None:
    names = [defect.name for defect in defects.DEFECTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["nothing", "twice twice"])
def test_what_does_not_stand_there_once_is_not_replaced(text: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(ValueError, match="not once"):
        Edit("f", "twice", "once").apply(tmp_path)
    assert (tmp_path / "f").read_text() == text


FAILED = "<failure/>"
BROKEN = "<error/>"


def fake(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    monkeypatch.setattr(defects, "run", lambda *arguments: outcome)


def defect(tmp_path: Path) -> Defect:
    (tmp_path / "f").write_text("good")
    return Defect("d", "it is bad", (Edit("f", "good", "bad"),), ("t",))


def test_a_failed_test_finds_a_defect_and_the_tree_is_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, Outcome(3, ("one",), (), ""))
    assert defects.search(tmp_path, defect(tmp_path)) == ("one",)
    assert (tmp_path / "f").read_text() == "good"


@pytest.mark.parametrize("outcome", [Outcome(3, (), (), ""), Outcome(0, (), ("setup",), "")])
def test_tests_that_pass_or_cannot_run_find_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome
) -> None:
    fake(monkeypatch, outcome)
    with pytest.raises(ValueError, match=r"passed|could not run"):
        defects.search(tmp_path, defect(tmp_path))
    assert (tmp_path / "f").read_text() == "good"


def test_tests_that_fail_without_a_defect_are_no_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, Outcome(0, ("one",), (), ""))
    with pytest.raises(ValueError, match="without a defect"):
        defects.check_all(tmp_path, [defect(tmp_path)])


def test_failures_are_told_from_errors(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    cases = "".join(
        f'<testcase classname="tests.x" name="{name}">{inside}</testcase>'
        for name, inside in {"a": "", "b": FAILED, "c": BROKEN, "d": "<skipped/>"}.items()
    )
    report.write_text(f"<testsuite>{cases}</testsuite>")
    assert defects._read(report, "") == Outcome(1, ("x::b",), ("x::c",), "")
    report.unlink()
    assert defects._read(report, "") == Outcome(0, (), ("pytest itself",), "")
