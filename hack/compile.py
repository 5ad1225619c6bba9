"""Compiles the edge's hot path to C with mypyc, in place, in the directory that the project is installed in.

Usage: compile.py SITE [PYTHON], with PYTHON the interpreter whose packages are the dependencies'. The source stays
beside what is made of it and is what every other installation runs; ADR 0012 says why. Needs a C compiler and Python's
headers; takes about a minute.
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
"""What runs for each request or event. Modules that define msgspec structs are left out: mypyc would make plain classes
of them."""


def main() -> None:
    """Compiles; raises SystemExit with the compiler's words where that fails."""
    site, python = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else sys.executable
    os.chdir(site)
    sources = [f"{package}/{name}.py" for package, names in MODULES.items() for name in names]
    with TemporaryDirectory() as scratch:
        options = ["--python-executable", python, "--ignore-missing-imports", "--cache-dir", scratch]
        setup(
            name="argus-compiled",
            packages=[],
            ext_modules=mypycify([*options, *sources], target_dir=f"{scratch}/c"),
            script_args=["-q", "build_ext", "--inplace", "--build-lib", scratch, "--build-temp", scratch],
        )


if __name__ == "__main__":
    main()
