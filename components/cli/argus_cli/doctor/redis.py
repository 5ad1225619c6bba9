"""Asks Redis whether it answers, takes the password, and takes a write."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from argus_runtime.redis import connect
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from argus_cli.doctor.findings import Finding, told, unasked, unreached, well, wrong
from argus_cli.errors import MissingSettingError
from argus_cli.settings import Settings

SUBJECT: Final = "Redis"
_EXPIRES_MS: Final = 1_000
_RUNNING: Final = (
    "Is Redis running? Meanwhile ingest limits by local buckets and the live counters stand still."
)


async def examine(settings: Settings, limit: float) -> AsyncIterator[Finding]:
    """Writes one key that expires at once."""
    try:
        found = settings.require_redis()
    except MissingSettingError:
        yield unasked(SUBJECT, "ARGUS_REDIS_URL is not set")
        return
    where = found.url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")
    try:
        client = connect(found.model_copy(update={"timeout": limit}))
    except ValueError as error:
        yield wrong(
            SUBJECT, f"ARGUS_REDIS_URL is no Redis URL: {error}", "It begins with redis://."
        )
        return
    try:
        async with asyncio.timeout(2 * limit):
            version = (await client.info("server")).get("redis_version", "?")
            await client.set(f"argus:doctor:{uuid4().hex}", "1", px=_EXPIRES_MS)
        yield well(SUBJECT, f"{where} answers and takes writes (version {version})")
    except (RedisError, OSError, TimeoutError) as error:
        yield _told(where, error)
    finally:
        await client.aclose()


def _told(where: str, error: Exception) -> Finding:
    match error:
        case AuthenticationError() | NoPermissionError():
            return wrong(
                SUBJECT,
                f"{where} refuses the password: {error}",
                "Compare the password in ARGUS_REDIS_URL with the server's.",
            )
        case ReadOnlyError():
            return wrong(SUBJECT, f"{where} is a replica", "Name the primary in ARGUS_REDIS_URL.")
        case BusyLoadingError():
            return wrong(SUBJECT, f"{where} is loading its data", "Ask again in a moment.")
        case OutOfMemoryError():
            return wrong(
                SUBJECT,
                f"{where} has used up its maxmemory",
                "Give it more; ARGUS wants maxmemory-policy noeviction or volatile-ttl.",
            )
        case RedisTimeoutError() | TimeoutError():
            return unreached(SUBJECT, where, TimeoutError(), _RUNNING)
        case ResponseError():
            return wrong(SUBJECT, f"{where} refuses a write: {told(error)}", "Its log says why.")
        case _:
            return unreached(SUBJECT, where, error, _RUNNING)
