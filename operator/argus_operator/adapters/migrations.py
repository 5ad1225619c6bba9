"""Brings the control schema `argus` to the state that this release expects.

`db/README.md` specifies the scheme: numbered migrations run once and never change, the routines are
applied as one set whenever one of them changes. Everything happens in one transaction under an
advisory lock, so a failure leaves nothing behind and two operators at once are one after the other.
It must never touch a database that a newer release has migrated further, nor go back a version.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from argus_runtime import assets

from argus_operator.errors import RefusedError, UnavailableError

LOCK: Final = 0x4152475553  # "ARGUS"
"""Key of the advisory lock that whoever changes schema `argus` holds."""
ROUTINES: Final = 0
"""Version under which the set of routines is recorded."""

_LOCK_TIMEOUT_S: Final = 10
"""A migration that waits for a table any longer gives up: the table's users queue behind it."""
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_HISTORY = """
CREATE SCHEMA IF NOT EXISTS argus;
CREATE TABLE IF NOT EXISTS argus.migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
_RECORD = """
INSERT INTO argus.migrations (version, name, checksum) VALUES ($1, $2, $3)
ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum, applied_at = now()
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: a numbered file, or all routines together as version 0."""

    version: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, in hex."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did: the names of the steps applied; `ahead` where a newer release was here."""

    applied: tuple[str, ...]
    ahead: bool


def load(directory: Path) -> tuple[Sequence[Migration], Migration]:
    """The numbered migrations in order, and the routines, of a directory like `db/`.

    Raises RefusedError where a file's name does not fit or a number is missing or taken twice.
    """
    numbered = [_numbered(file) for file in sorted((directory / "migrations").glob("*.sql"))]
    if [step.version for step in numbered] != list(range(1, len(numbered) + 1)):
        names = ", ".join(f"{step.version:04}_{step.name}" for step in numbered)
        raise RefusedError(
            "MigrationsInvalid", f"migrations are not numbered from 0001 on: {names}"
        )
    routines = sorted((directory / "routines").glob("*.sql"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in routines)
    return numbered, Migration(ROUTINES, "routines", text)


async def migrate(
    connection: asyncpg.Connection, timeout: float, directory: Path | None = None
) -> Outcome:
    """Applies what is missing, all or nothing; twice changes nothing.

    After a failure use a new connection: TimescaleDB is not created twice in one session.
    `timeout` in seconds is for everything, waiting for another operator included; `directory`
    defaults to the release's own `db/`. Raises RefusedError where an applied migration has another
    checksum, UnavailableError that names the step where PostgreSQL refuses it, TimeoutError.
    """
    numbered, routines = load(directory or assets.path("db"))
    async with asyncio.timeout(timeout), connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=timeout)
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
        await connection.execute(_HISTORY)
        recorded = {
            row["version"]: row["checksum"]
            for row in await connection.fetch("SELECT version, checksum FROM argus.migrations")
        }
        _require_unchanged(numbered, recorded)
        ahead = max(recorded, default=ROUTINES) > len(numbered)
        missing = [] if ahead else _missing([*numbered, routines], recorded)
        for step in missing:
            await _apply(connection, step, timeout)
    return Outcome(tuple(step.name for step in missing), ahead)


def _numbered(file: Path) -> Migration:
    fits = _FILE_NAME.fullmatch(file.name)
    if fits is None:
        raise RefusedError("MigrationsInvalid", f"{file.name} is not named NNNN_name.sql")
    return Migration(int(fits[1]), fits[2], file.read_text(encoding="utf-8"))


def _require_unchanged(numbered: Sequence[Migration], recorded: Mapping[int, str]) -> None:
    for step in numbered:
        if recorded.get(step.version, step.checksum) != step.checksum:
            raise RefusedError(
                "MigrationChanged",
                f"migration {step.version:04}_{step.name} was applied with other contents than"
                " this release has: an applied migration never changes, add a new one",
            )


def _missing(steps: Sequence[Migration], recorded: Mapping[int, str]) -> list[Migration]:
    return [step for step in steps if recorded.get(step.version) != step.checksum]


async def _apply(connection: asyncpg.Connection, step: Migration, timeout: float) -> None:
    try:
        await connection.execute(step.statements, timeout=timeout)
        await connection.execute(_RECORD, step.version, step.name, step.checksum)
    except asyncpg.PostgresError as error:
        raise UnavailableError(
            "MigrationFailed", f"PostgreSQL refused {step.name}: {error}"
        ) from error
