"""docs/operator.md names every test of the operator's logic and its crashes, and no other."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py::[\w:]+)`", PAGE)
FILES = (
    *sorted((ROOT / "tests/integration/operator/logic").glob("test_*.py")),
    *sorted((ROOT / "tests/integration/operator/crash").glob("test_*.py")),
    ROOT / "tests/unit/operator/test_crash.py",
)
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


def test_every_condition_of_a_tenant_or_a_pipeline_is_explained() -> None:
    source = (ROOT / "operator/argus_operator/conditions.py").read_text()
    types = set(TYPES.findall(source))

    assert {"Ready", "Synced", "Healthy", "TopicsReady"} <= types
    assert types == set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
