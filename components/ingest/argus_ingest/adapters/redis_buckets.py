"""The shared buckets in one Redis: one EVALSHA for all checks of a tick.

A connection of redis-py's is held and written to directly: its `execute_command` costs more than
the script does. The script is loaded with each connection, and again should Redis forget it.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import hiredis
import msgspec
from argus_runtime import assets
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from argus_ingest.buckets import Check, Verdict
from argus_ingest.limit import BucketsAwayError

logger = logging.getLogger(__name__)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, list[int]]).decode
TROUBLE: Final = (RedisError, OSError)
"""What redis-py raises for an engine that does not answer as it should."""


class Call:
    """The arguments of one call of the script, and what its answer means."""

    def __init__(self, checks: Sequence[Check]) -> None:
        keys: dict[str, int] = {}
        usages: dict[str, int] = {}
        rates: list[float] = []
        bursts: list[float] = []
        flat: list[int] = []
        quotas: list[int] = []
        for check in checks:
            address = 0
            if check.address_bucket is not None:
                address = keys.setdefault(check.address_bucket, len(keys) + 1)
                if address > len(rates):
                    rates.append(check.address_limit.rate)
                    bursts.append(check.address_limit.burst)
            key = keys.setdefault(check.key_bucket, len(keys) + 1)
            if key > len(rates):
                rates.append(check.key_limit.rate)
                bursts.append(check.key_limit.burst)
            quota, usage = check.quota, 0
            if quota is not None:
                usage = usages.setdefault(quota.usage, len(usages) + 1)
                if 2 * usage > len(quotas):
                    quotas += (quota.daily, quota.monthly)
            flat += (address, key, check.cost, usage)
        self.keys = (*keys, *usages)
        self.argument = _encode((rates, bursts, flat, quotas))

    @staticmethod
    def clock(answer: bytes) -> int:
        """Redis's clock when it judged, in microseconds since the epoch."""
        return _decode(answer)[0]

    @staticmethod
    def verdicts(answer: bytes) -> list[Verdict]:
        """The verdicts in the order of the checks."""
        numbers = iter(_decode(answer)[1])
        return [Verdict(*five) for five in zip(*[numbers] * 5, strict=True)]


class RedisBuckets:
    """Buckets in one Redis or Valkey."""

    def __init__(self, redis: Redis) -> None:
        """Owns `redis`: `close` closes it."""
        self._redis = redis
        self._script = assets.path("lua", "token_bucket.lua").read_bytes()
        self._sha = ""
        self._connection: AbstractConnection | None = None

    async def connect(self) -> None:
        """A fresh connection that knows the script."""
        await self._drop()
        try:
            connection = await self._redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            self._connection = connection
            await self._load(connection)
        except TROUBLE as error:
            await self._drop()
            raise BucketsAwayError(str(error)) from error

    async def judge(self, checks: Sequence[Check]) -> list[Verdict]:
        """One call for all checks; after any failure `connect` has to be called again."""
        connection = self._connection
        if connection is None:
            raise BucketsAwayError("not connected")
        call = Call(checks)
        try:
            try:
                answer = await self._evaluate(connection, call)
            except NoScriptError:
                await self._load(connection)
                answer = await self._evaluate(connection, call)
        except TROUBLE as error:
            raise BucketsAwayError(str(error)) from error
        return call.verdicts(answer)

    async def close(self) -> None:
        """Disconnects for good."""
        await self._drop()
        await self._redis.aclose()

    async def _drop(self) -> None:
        """Gives up the connection, whatever state it is in."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
            await self._redis.connection_pool.release(self._connection)
            self._connection = None

    async def _load(self, connection: AbstractConnection) -> None:
        answer = await _ask(connection, ("SCRIPT", "LOAD", self._script))
        self._sha = answer.decode() if isinstance(answer, bytes) else str(answer)

    async def _evaluate(self, connection: AbstractConnection, call: Call) -> bytes:
        answer: bytes = await _ask(
            connection, ("EVALSHA", self._sha, len(call.keys), *call.keys, call.argument)
        )
        return answer


async def _ask(connection: AbstractConnection, command: Any) -> Any:
    await connection.send_packed_command(hiredis.pack_command(command), check_health=False)
    return await connection.read_response()
