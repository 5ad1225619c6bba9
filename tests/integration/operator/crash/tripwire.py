"""Counts the calls that an operator makes to the outside, and ends it, or the call, at one of them.

A call is guarded where it is made, at an adapter's lowest seam: one request, statement or record.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any


class Killed(BaseException):
    """The process is no more: nothing that it might have done afterwards is done."""


class Side(StrEnum):
    """What happens to the call."""

    BEFORE = "killed-before"
    AFTER = "killed-after"
    FAILING = "failed"


class Engine(StrEnum):
    """Who answers the call."""

    KUBERNETES = "kubernetes"
    KAFKA = "kafka"
    POSTGRES = "postgres"
    REDIS = "redis"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A call that is watched: its name, who answers it, what it raises where nobody does."""

    label: str
    engine: Engine
    failure: Exception | None


class Tripwire:
    """Guards calls; at rest it lets them pass uncounted."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """Names of the calls that were made while it was armed."""
        self.tripped = False
        """Whether the call that it was armed for came."""
        self._armed = False
        self._at: int | None = None
        self._side = Side.BEFORE
        self._dead = False
        self._away: Engine | None = None

    def take_away(self, engine: Engine | None) -> None:
        """From now on every call to this engine fails; None: all answer again."""
        self._away = engine

    def arm(self, at: int | None = None, side: Side = Side.BEFORE) -> None:
        """Counts from now on; `at` is the call that trips it, from 1 on, None for none."""
        self.calls, self.tripped = [], False
        self._armed, self._at, self._side = True, at, side

    def rest(self) -> None:
        """Lets everything pass again: another process, or a look from outside."""
        self._armed = self._dead = False

    def guard(
        self,
        target: object,
        names: Iterable[str],
        engine: Engine,
        failure: Exception | None,
    ) -> None:
        """Replaces these methods of `target`; `failure` is what a call raises that is to fail.

        Where that is None the call may not fail by its contract, and is only counted and killed.
        """
        for name in names:
            call = Guarded(f"{type(target).__name__}.{name}", engine, failure)
            inner = getattr(target, name)
            wrap = self._awaited if iscoroutinefunction(inner) else self._called
            setattr(target, name, wrap(inner, call))

    def _called(self, inner: Callable[..., Any], call: Guarded) -> Callable[..., Any]:
        @wraps(inner)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            mine = self._enter(call)
            try:
                return inner(*args, **kwargs)
            finally:
                self._leave(call, mine)

        return guarded

    def _awaited(self, inner: Callable[..., Any], call: Guarded) -> Callable[..., Any]:
        @wraps(inner)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            mine = self._enter(call)
            try:
                return await inner(*args, **kwargs)
            finally:
                self._leave(call, mine)

        return guarded

    def _enter(self, call: Guarded) -> bool:
        """Counts a call; whether it is the one. Raises Killed, or its failure, in its place."""
        if self._dead:
            raise Killed(call.label)
        if self._away is call.engine and call.failure is not None:
            raise call.failure
        if not self._armed:
            return False
        self.calls.append(call.label)
        if len(self.calls) != self._at:
            return False
        self.tripped = True
        if self._side is Side.BEFORE:
            self._die(call)
        if self._side is Side.FAILING and call.failure is not None:
            raise call.failure
        return True

    def _leave(self, call: Guarded, mine: bool) -> None:
        if mine and self._side is Side.AFTER:
            self._die(call)

    def _die(self, call: Guarded) -> None:
        self._dead = True
        raise Killed(call.label)
