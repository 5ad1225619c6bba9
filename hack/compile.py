"""Compiles the edge's hot path to C with mypyc, in place, where the project is installed.

Usage: compile.py SITE [PYTHON], with PYTHON the interpreter that has the dependencies. The source
stays beside what is made of it, and is what any other installation runs (ADR 0014). Needs a C
compiler and Python's headers, and takes about a minute.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mypyc.build import mypycify
from setuptools import setup

MODULES = {
    "argus_contract": ("ids", "items", "judge", "records", "rejects", "splice", "times"),
    "argus_ingest": (
        "address",
        "answer",
        "authenticate",
        "buckets",
        "budget",
        "deadlines",
        "decode",
        "denials",
        "endpoint",
        "exchange",
        "flood",
        "limit",
        "pressure",
        "publish",
        "read",
        "route",
        "tally",
        "tenants",
        "adapters/kafka_log",
        "adapters/redis_buckets",
    ),
}
"""What runs for each request or event. Modules that define msgspec structs are not among them:
mypyc would make plain classes of those."""


def main() -> None:
    """Compiles; raises SystemExit with the compiler's words where that fails."""
    site, python = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else sys.executable
    os.chdir(site)
    sources = [f"{package}/{name}.py" for package, names in MODULES.items() for name in names]
    with TemporaryDirectory() as scratch:
        options = ["--python-executable", python, "--ignore-missing-imports"]
        options += ["--cache-dir", scratch]
        setup(
            name="argus-compiled",
            packages=[],
            ext_modules=mypycify([*options, *sources], target_dir=f"{scratch}/c"),
            script_args=["-q", "build_ext", "--inplace", "-b", scratch, "-t", scratch],
        )


if __name__ == "__main__":
    main()
