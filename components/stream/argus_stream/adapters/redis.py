"""The live counters in Redis or Valkey, by two scripts whose invariants `lua/live_*.lua` state."""

import asyncio
import secrets
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final, TypeVar, cast

from argus_runtime import assets
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from argus_stream.errors import LiveError
from argus_stream.ports import Change, LiveWindow

FENCE_SECONDS: Final = 2 * 3_600
"""How long an untouched fence lives: longer than any hash that it speaks for."""
STAGED_SECONDS: Final = 60
"""How long a staged window lives: less than the outbox, so that what it lacks is still there."""
REPLACE_TIMEOUT: Final = 50.0
"""Seconds after which a replacement is given up, before what it staged begins to expire."""
_STAGE_FIELDS: Final = 1_000
_STAGE_COMMANDS: Final = 200

Argument = str | int
T = TypeVar("T")


class RedisCounters:
    """`argus_stream.ports.Counters` on a real server."""

    def __init__(self, redis: Redis, timeout: float) -> None:
        """`timeout` bounds each round trip, in seconds."""
        self._redis = redis
        self._timeout = timeout
        self._apply = redis.register_script(_source("live_counters.lua"))
        self._replace = redis.register_script(_source("live_window.lua"))

    async def apply(self, changes: Sequence[Change]) -> Sequence[int | None]:
        """One round trip for all changes, in their order."""
        with _translated():
            try:
                answers = await self._evaluate(changes)
            except NoScriptError:
                await self._within(self._redis.script_load(self._apply.script))
                answers = await self._evaluate(changes)
        return [None if answer is None else int(answer) for answer in answers]

    async def _evaluate(self, changes: Sequence[Change]) -> Sequence[bytes | None]:
        """A server without the script refuses the first call, and with it every later one."""
        pipeline = self._redis.pipeline(transaction=False)
        for change in changes:
            keys = [change.fence, *change.counts]
            pipeline.evalsha(self._apply.sha, len(keys), *keys, *_arguments(change))
        return cast("Sequence[bytes | None]", await self._within(pipeline.execute()))

    async def fences(self, keys: Sequence[str]) -> Sequence[int | None]:
        """One round trip; keys of different tenants may be in different slots."""
        if not keys:
            return []
        with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.get(key)
            found = await self._within(pipeline.execute())
        return [None if value is None else int(value) for value in found]

    async def replace(self, window: LiveWindow) -> None:
        """Stages the hashes piece by piece, then puts them in place in one script."""
        token = secrets.token_hex(4)
        staged = {key: _staged(key, token) for key, events in window.counts.items() if events}
        with _translated():
            async with asyncio.timeout(REPLACE_TIMEOUT):
                whole = await self._stage_and_swap(window, staged)
        if whole != 1:
            raise LiveError("the staged window was lost before it was whole")

    async def _stage_and_swap(self, window: LiveWindow, staged: Mapping[str, str]) -> int:
        for commands in _chunks(_fields(window, staged), _STAGE_COMMANDS):
            pipeline = self._redis.pipeline(transaction=False)
            for key, fields in commands:
                pipeline.hset(key, mapping=cast("Mapping[Any, Any]", fields))
                pipeline.expire(key, STAGED_SECONDS)
            await self._within(pipeline.execute())
        return cast("int", await self._within(self._swap(window, staged)))

    def _swap(self, window: LiveWindow, staged: Mapping[str, str]) -> Awaitable[int]:
        keys = [
            *window.fences,
            *chain.from_iterable((staged[key], key) for key in staged),
            *(key for key in window.expiry if key not in staged),
        ]
        arguments: list[Argument] = [
            len(window.fences),
            len(staged),
            FENCE_SECONDS,
            *window.fences.values(),
        ]
        for key in staged:
            arguments += (len(window.counts[key]), window.expiry[key])
        return cast("Awaitable[int]", self._replace(keys=keys, args=arguments))

    async def _within(self, answer: Awaitable[Any]) -> Any:
        async with asyncio.timeout(self._timeout):
            return await answer


def _arguments(change: Change) -> Iterator[Argument]:
    yield from (change.start, change.end, FENCE_SECONDS)
    for key, events in change.counts.items():
        yield from (change.expiry[key], len(events))
        yield from chain.from_iterable(events.items())


def _fields(
    window: LiveWindow, staged: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, int]]]:
    for key, target in staged.items():
        for some in _chunks(iter(window.counts[key].items()), _STAGE_FIELDS):
            yield target, dict(some)


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while some := list(islice(items, size)):
        yield some


def _staged(key: str, token: str) -> str:
    """A key beside `key`, in its hash slot, that no reader of live keys meets."""
    return f"{key.replace(':live:', ':staged:', 1)}:{token}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, TimeoutError, OSError) as error:
        raise LiveError(f"Redis: {error!r}") from error


def _source(name: str) -> str:
    return assets.path("lua", name).read_text(encoding="utf-8")
