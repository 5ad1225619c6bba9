"""The runtime wrapper takes away what the host's root does not hold, and nothing else."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WRAPPER = Path(__file__).parents[3] / "hack" / "runc_current_caps.py"
UNHELD = "CAP_OF_NO_KERNEL"


@pytest.fixture
def runc(tmp_path: Path) -> Path:
    """A stand-in for runc that only writes its arguments down; returns the file."""
    program, written = tmp_path / "bin" / "runc", tmp_path / "arguments"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{written}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return written


def wrap(runc: Path, *arguments: str) -> None:
    path = f"{runc.parent / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, str(WRAPPER), *arguments], env={**os.environ, "PATH": path}, check=True
    )


def process(*capabilities: str) -> dict[str, Any]:
    return {"args": ["true"], "capabilities": {"bounding": [*capabilities], "effective": []}}


def test_a_created_container_keeps_only_capabilities_that_are_held(
    runc: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "config.json"
    spec.write_text(json.dumps({"hostname": "h", "process": process("CAP_CHOWN", UNHELD)}))
    wrap(runc, "--log", "l", "create", "--bundle", str(tmp_path), "name")
    assert json.loads(spec.read_text()) == {"hostname": "h", "process": process("CAP_CHOWN")}


def test_a_process_in_a_running_container_is_narrowed_too(runc: Path, tmp_path: Path) -> None:
    spec = tmp_path / "process.json"
    spec.write_text(json.dumps(process(UNHELD)))
    wrap(runc, "exec", "--process", str(spec), "name")
    assert json.loads(spec.read_text()) == process()


def test_a_process_without_capabilities_stays_as_it_is(runc: Path, tmp_path: Path) -> None:
    spec = tmp_path / "process.json"
    spec.write_text('{"args": ["true"]}')
    wrap(runc, "exec", "--process", str(spec), "name")
    assert json.loads(spec.read_text()) == {"args": ["true"]}


def test_every_argument_reaches_runc(runc: Path) -> None:
    wrap(runc, "--root", "/r", "kill", "name", "9")
    assert runc.read_text().split() == ["--root", "/r", "kill", "name", "9"]
