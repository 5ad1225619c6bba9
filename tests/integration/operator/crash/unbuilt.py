"""Fields that the API server takes and nothing heeds yet: the matrix has no row for them."""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Unheeded:
    """Fields of one kind that take effect together, and a spec that sets them all."""

    why: str
    kind: str
    fields: tuple[str, ...]
    spec: dict[str, Any]

    def __str__(self) -> str:
        return self.fields[0]


UNHEEDED: Final = (
    Unheeded(
        "The read-only role has no login.", "tenant", ("databaseLogin",), {"databaseLogin": True}
    ),
    Unheeded(
        "No edition of TimescaleDB is asked to compress.",
        "pipeline",
        ("storage.compressAfter",),
        {"storage": {"compressAfter": "7d"}},
    ),
)
"""Exactly those: tests/unit/operator/test_matrix.py fails for a field without a row that is not
here, for one here that has a row, and for one here that has come to have an effect."""
