"""How long a scenario lasts: minutes for `make test-full`, less while one develops."""

import os
from typing import Final, TypeVar

VARIABLE: Final = "ARGUS_SCENARIOS"
FULL: Final = os.environ.get(VARIABLE, "short") == "full"

Number = TypeVar("Number", int, float)


def span(short: Number, full: Number) -> Number:
    """The second where ARGUS_SCENARIOS is `full`, else the first."""
    return full if FULL else short
