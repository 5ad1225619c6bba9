"""What ingest keeps in Redis of a tenant's quotas and keys.

Counts are only ever raised, and by the script that ingest judges requests with, so that no request
that is judged meanwhile is lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from argus_contract import quotas, redis_keys
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_contract.times import SECOND
from argus_runtime import assets
from redis.asyncio import Redis

from argus_operator.adapters.counters import answering
from argus_operator.usage import Reading

_CHUNK: Final = 500
"""Commands that go out together."""

Command = tuple[str | int | bytes, ...]


class RedisUsage:
    """Reads and raises usage; the client is another's to close."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._script = assets.path("lua", "token_bucket.lua").read_text()

    async def read(self, limited: Sequence[TenantId], known: Sequence[TenantId]) -> Reading:
        """What `limited` have used, and when the keys of `known` were; raises UnavailableError."""
        with answering():
            clock = await self._client.time()
            usage = await self._all([("GET", redis_keys.usage(tenant)) for tenant in limited])
            used = await self._all([("HGETALL", redis_keys.used(tenant)) for tenant in known])
        found = {
            tenant: counted
            for tenant, text in zip(limited, usage, strict=True)
            if text is not None and (counted := quotas.parse(text)) is not None
        }
        minutes = zip(known, map(_minutes, used), strict=True)
        now = int(clock[0]) * SECOND + int(clock[1])
        return Reading(now, found, {tenant: times for tenant, times in minutes if times})

    async def raise_to(self, floors: Mapping[TenantId, Usage]) -> None:
        """Raises what each of these has used to no less than this; raises UnavailableError."""
        with answering():
            sha = await self._client.script_load(self._script)
            await self._all(
                [
                    ("EVALSHA", sha, 1, redis_keys.usage(tenant), quotas.raising(floor))
                    for tenant, floor in floors.items()
                ]
            )

    async def _all(self, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        for chunk in _chunks(commands):
            async with self._client.pipeline(transaction=False) as batch:
                for command in chunk:
                    batch.execute_command(*command)
                answers += await batch.execute()
        return answers


def _chunks(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    for start in range(0, len(commands), _CHUNK):
        yield commands[start : start + _CHUNK]


def _minutes(answer: Mapping[bytes, bytes]) -> dict[KeyHash, int]:
    """What is no number was written by a strange hand, and tells nothing."""
    return {
        cast(KeyHash, hash_.decode(errors="replace")): int(minute)
        for hash_, minute in answer.items()
        if minute.isdigit()
    }
