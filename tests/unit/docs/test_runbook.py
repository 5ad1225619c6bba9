"""What the documentation tells a person to run in SQL is there to be run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CALLED = re.compile(r"\bargus\.(\w+)\(")
MADE = re.compile(r"CREATE OR REPLACE FUNCTION argus\.(\w+)\(")
SQL = "\n".join(path.read_text() for path in sorted((ROOT / "db" / "routines").glob("*.sql")))


@pytest.mark.parametrize("page", ["runbook.md", "resources.md"])
def test_every_function_that_a_person_is_to_call_exists(page: str) -> None:
    called = set(CALLED.findall((ROOT / "docs" / page).read_text()))

    assert "resume_partition" in called
    assert called <= set(MADE.findall(SQL))


def test_a_halted_partition_is_said_to_stay_halted_until_it_is_resumed() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    [chapter] = re.findall(r"### ArgusPartitionStopped\n(.*?)\n### ", text, re.DOTALL)

    assert "argus.halted_partitions" in chapter
    assert "SELECT argus.resume_partition(" in chapter
    assert "as the database's owner" in chapter
