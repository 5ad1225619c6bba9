"""docs/operator.md names every test of the operator's logic and its crashes, and no other.

Its matrix is the one that is run.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.integration.operator.crash.rows import IN_EVERY_RUN, ROWS, Column

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py::[\w:]+)`", PAGE)
FILES = (
    *sorted((ROOT / "tests/integration/operator/logic").glob("test_*.py")),
    *sorted((ROOT / "tests/integration/operator/crash").glob("test_*.py")),
    ROOT / "tests/integration/operator/test_rights.py",
    ROOT / "tests/unit/operator/test_crash.py",
    ROOT / "tests/unit/operator/test_matrix.py",
)
MARKS = {True: "●", False: "○"}
"""Whether a cell runs on real engines in every run, or only where all do."""
TYPES = re.compile(r'^(?:READY|SYNCED|[A-Z]+_READY|HEALTHY): Final = "(\w+)"', re.MULTILINE)


def named(body: Sequence[ast.stmt], prefix: str) -> Iterator[str]:
    """The tests of a module, and of its classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("test_"):
                yield f"{prefix}::{node.name}"
        elif isinstance(node, ast.ClassDef):
            yield from named(node.body, f"{prefix}::{node.name}")


def test_the_page_names_every_test_once_and_no_other() -> None:
    there = [
        name
        for file in FILES
        for name in named(ast.parse(file.read_text()).body, str(file.relative_to(ROOT)))
    ]

    assert len(there) > 30
    assert sorted(NAMED) == sorted(there)


def test_nothing_else_is_called_a_test() -> None:
    assert len(re.findall(r"\btests/", PAGE)) == len(NAMED)


def test_the_matrix_is_as_its_tests_run_it() -> None:
    (head,) = re.findall(r"^\| row \| what of it \| (.*) \|$", PAGE, re.MULTILINE)
    rows = re.findall(r"^\| `([\w.-]+)` \| .*?\| ([●○ |]+) \|$", PAGE, re.MULTILINE)
    shown = [(name, marks.split(" | ")) for name, marks in rows]

    assert head.split(" | ") == [f"`{column}`" for column in Column]
    assert shown == [
        (row.name, [MARKS[column in IN_EVERY_RUN.get(row.name, ())] for column in Column])
        for row in ROWS
    ]


def test_in_every_run_there_is_something_of_each_column() -> None:
    assert IN_EVERY_RUN.keys() <= {row.name for row in ROWS}
    assert frozenset().union(*IN_EVERY_RUN.values()) == set(Column)


def test_every_condition_of_a_tenant_or_a_pipeline_is_explained() -> None:
    source = (ROOT / "operator/argus_operator/conditions.py").read_text()
    types = set(TYPES.findall(source))

    assert {"Ready", "Synced", "Healthy", "TopicsReady"} <= types
    assert types == set(re.findall(r"^\| `([A-Z]\w+)`", PAGE, re.MULTILINE))
