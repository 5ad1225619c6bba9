"""Each promise of docs/guarantees.md names its proof, and each proof is there to run."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROOFS = sorted(set(PROOF.findall(PAGE)))


@cache
def names_in(file: Path) -> set[str]:
    """The names of the test functions in a file; none where there is no such file."""
    if not file.exists():
        return set()
    return {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_there_are_seven_promises_and_each_has_its_proofs() -> None:
    assert [promise[0] for promise in PROMISES] == list("1234567")
    for promise in PROMISES:
        assert PROOF.search(promise), promise.partition("\n")[0]
        assert "**How.**" in promise
        assert "**Not promised.**" in promise


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_proof_is_a_test_that_exists(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in names_in(ROOT / file)


def test_nothing_else_is_called_a_test() -> None:
    assert len(re.findall(r"\btests/", PAGE)) == len(PROOF.findall(PAGE))
