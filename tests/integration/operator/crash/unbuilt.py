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
        "No quota is in a tenant's document, and none is counted.",
        "tenant",
        ("rateLimit.quota.daily", "rateLimit.quota.monthly"),
        {"rateLimit": {"quota": {"daily": 5_000, "monthly": 50_000}}},
    ),
    Unheeded(
        "The number of requests in work is bounded by the process's memory alone.",
        "tenant",
        ("rateLimit.concurrency",),
        {"rateLimit": {"concurrency": 7}},
    ),
    Unheeded(
        "Limits are always enforced.",
        "tenant",
        ("rateLimit.mode",),
        {"rateLimit": {"mode": "observe"}},
    ),
    Unheeded(
        "The read-only role has no login.", "tenant", ("databaseLogin",), {"databaseLogin": True}
    ),
    Unheeded(
        "Topics have names of the operator's own, and it makes them.",
        "pipeline",
        ("topic.external.name", "topic.external.deadLetterName"),
        {
            "topic": {
                "retention": {"bytes": "64Mi"},
                "external": {"name": "theirs", "deadLetterName": "theirs.dead"},
            }
        },
    ),
    Unheeded(
        "No edition of TimescaleDB is asked to compress.",
        "pipeline",
        ("storage.compressAfter",),
        {"storage": {"compressAfter": "7d"}},
    ),
    Unheeded(
        "The properties of an event are not held to a schema.",
        "pipeline",
        ("validation.mode", "validation.schemas.event", "validation.schemas.jsonSchema"),
        {
            "validation": {
                "mode": "observe",
                "schemas": [{"event": "click", "jsonSchema": {"required": ["page"]}}],
            }
        },
    ),
)
"""Exactly those: tests/unit/operator/test_matrix.py fails for a field without a row that is not
here, for one here that has a row, and for one here that has come to have an effect."""
