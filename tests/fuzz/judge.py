"""The fuzz target: looks for bodies that break the invariants, guided by what code they reach.

    make fuzz SECONDS=60

Each new body that reaches new code joins the corpus; one that breaks something is kept and ends it.
"""

import sys

import atheris

with atheris.instrument_imports(include=["argus_contract", "argus_ingest"]):
    from tests.fuzz.invariants import check


def main() -> None:
    """Arguments are libFuzzer's: corpus directories and `-option=value`."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
