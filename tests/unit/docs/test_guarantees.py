"""Each promise of docs/guarantees.md names its proof, and each proof is there to run."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]
PROOF = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
PROOFS = sorted(set(PROOF.findall(PAGE)))


def functions(body: Sequence[ast.stmt], prefix: str = "") -> Iterator[str]:
    """The functions of a module, and of its classes as `Class::name`."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{prefix}{node.name}::")


@cache
def names_in(file: Path) -> frozenset[str]:
    """The functions of a file; none where there is no such file."""
    return frozenset(functions(ast.parse(file.read_text()).body)) if file.exists() else frozenset()


def test_there_are_seven_promises_and_each_has_its_proofs() -> None:
    assert [promise[0] for promise in PROMISES] == list("1234567")
    for promise in PROMISES:
        assert PROOF.search(promise), promise.partition("\n")[0]
        assert "**How.**" in promise
        assert "**Not promised.**" in promise


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_proof_is_a_test_that_exists(file: str, name: str) -> None:
    assert name.rpartition("::")[2].startswith("test_")
    assert name in names_in(ROOT / file)


def test_nothing_else_is_called_a_test() -> None:
    assert len(re.findall(r"\btests/", PAGE)) == len(PROOF.findall(PAGE))
