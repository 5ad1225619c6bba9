"""What a replay of dead letters reports: the console writes it, the operator reads it."""

from collections.abc import Mapping

import msgspec


class Report(msgspec.Struct, frozen=True):
    """Counts of letters, `refused` by reason; `passing` would pass, published or not."""

    matched: int = 0
    passing: int = 0
    replayed: int = 0
    stored: int = 0
    duplicate: int = 0
    failed: int = 0
    refused: Mapping[str, int] = {}
    settled: int = 0
    skipped: int = 0
    message: str = ""
