"""Killed after any of its awaits, the stream ends where it would have ended undisturbed."""

import asyncio
import dis
import importlib.util
import inspect
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple

import pytest

from tests.integration.stream.awaits import workload
from tests.integration.stream.awaits.fork import fork_server
from tests.integration.stream.awaits.points import Point, points
from tests.integration.stream.awaits.server import PACKAGE
from tests.integration.stream.awaits.trial import Trials, Way, guarded, lane, plain, troubled
from tests.integration.stream.world import Database, micros

LANES: Final = 6
"""Trials at a time."""
LATER: Final = 20
"""Points that are also tried at a later time than their first, drawn anew in each run."""
TRIES: Final = 3
"""How often a point is tried on each way to it, for which way a run takes is partly chance."""
UNREACHED: Final = {
    "KafkaLog.stop: await self._consumer._client.close()": (
        "only if the stop falls into the 0.1 s that aiokafka rests after a broker's failure, by "
        "chance; test_a_log_is_left_while_its_broker_fails awaits it"
    ),
    "Reader._read: await asyncio.sleep(_WAIT_SECONDS)": (
        "after a BrokerError of a fetch: aiokafka waits for lost brokers itself and raises none"
    ),
}
"""Points that no trial reaches, by function and text, and why that is no gap in the proof."""


class Trial(NamedTuple):
    """To be killed at the point, the nth time that it is reached on the first of these ways."""

    point: Point
    ways: tuple[Way, ...]
    nth: int


def first_times(found: Sequence[Point], counts: Mapping[Way, Counter[str]]) -> Iterator[Trial]:
    """Each point that is reached, the first time."""
    for point in found:
        ways = tuple(way for way, reached in counts.items() if reached[point.key])
        if ways:
            yield Trial(point, ways, 1)


def later_times(
    trials: Sequence[Trial], counts: Mapping[Way, Counter[str]], choose: random.Random
) -> Iterator[Trial]:
    """Some of the points that are reached more than once."""
    often = [trial for trial in trials if counts[trial.ways[0]][trial.point.key] > 1]
    for trial in choose.sample(often, min(LATER, len(often))):
        most = counts[trial.ways[0]][trial.point.key]
        yield trial._replace(nth=choose.randint(2, most))


async def reached_by(
    trials: Trials, found: Sequence[Point], expected: workload.State
) -> dict[Way, Counter[str]]:
    """How often each way reaches which points; ways are tried again for points that they missed."""
    counts: dict[Way, Counter[str]] = {plain: Counter(), troubled: Counter(), guarded: Counter()}
    for _ in range(TRIES):
        for way in counts:
            state, reached = await trials.unharmed(way)
            assert not workload.differences(expected, state)
            counts[way] |= reached
        missed = {point.what for point in found if not any(c[point.key] for c in counts.values())}
        if missed <= UNREACHED.keys():
            break
    return counts


async def attempt(trials: Trials, trial: Trial, expected: workload.State) -> list[str]:
    """What is wrong after this trial, in words."""
    nth = trial.nth
    for way in trial.ways:
        for _ in range(TRIES):
            found = await trials.killed(way, trial.point, nth)
            if found is not None:
                return [
                    f"{trial.point}, time {nth}: {difference}"
                    for difference in workload.differences(expected, found)
                ]
            nth = max(1, nth // 2)
    return [f"{trial.point}: not reached, where it was reached undisturbed"]


async def all_wrong(
    lanes: Sequence[Trials], trials: Sequence[Trial], expected: workload.State
) -> list[str]:
    """What is wrong after any of these trials, in words."""
    waiting = list(trials)
    wrong: list[str] = []

    async def work(lane: Trials) -> None:
        while waiting:
            wrong.extend(await attempt(lane, waiting.pop(), expected))

    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(work(lane))
    return wrong


@pytest.mark.timeout(900)
async def test_killed_after_any_await_it_ends_as_if_undisturbed(
    kafka: str, redis_url: str, migrated: Database, tmp_path: Path
) -> None:
    began = time.monotonic()
    seed = random.randrange(1 << 32)
    base = micros() - 60_000_000
    logs = [workload.log(base, partition) for partition in range(workload.PARTITIONS)]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fork_server())
        lanes = []
        for _ in range(LANES):
            world = await stack.enter_async_context(lane(kafka, redis_url, migrated))
            lanes.append(Trials(world, server, logs, tmp_path))
        expected = await lanes[0].undisturbed()
        counts = await reached_by(lanes[0], server.points, expected)
        first = list(first_times(server.points, counts))
        trials = first + list(later_times(first, counts, random.Random(seed)))
        unreached = set(server.points) - {trial.point for trial in first}
        wrong = await all_wrong(lanes, trials, expected)
    print(
        f"\n{len(server.points)} points at the awaits of {PACKAGE}: {len(first)} reached, "
        f"{len(trials)} processes killed, {time.monotonic() - began:.0f} s, seed {seed}"
    )
    for point in unreached:
        print(f"not reached: {point}\n  {UNREACHED.get(point.what, 'no reason is known')}")
    assert not wrong, "\n".join(wrong)
    assert {point.what for point in unreached} <= UNREACHED.keys()
    assert UNREACHED.keys() <= {point.what for point in server.points}


def test_every_await_that_python_compiles_is_a_point() -> None:
    """Counted apart, in bytecode: `await`, entering and leaving `async with`, `async for`."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    compiled = sum(
        _awaits(compile(path.read_bytes(), str(path), "exec")) for path in package.rglob("*.py")
    )
    assert len(points(package)) == compiled > 100


def _awaits(code: CodeType) -> int:
    """GET_AWAITABLE's argument tells `await` (0) from entering (1) and leaving (2) `async with`.

    Leaving is compiled once for each way out, so it is inferred from entering. A comprehension that
    awaits is a coroutine of its own, which nobody wrote an await for.
    """
    here = {
        (each.opname, each.arg, each.positions)
        for each in dis.get_instructions(code)
        if each.opname == "GET_ANEXT" or (each.opname == "GET_AWAITABLE" and each.arg != 2)
    }
    entered = sum(opname == "GET_AWAITABLE" and arg == 1 for opname, arg, _ in here)
    parts = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    unwritten = sum(
        part.co_name.endswith("comp>") and bool(part.co_flags & inspect.CO_COROUTINE)
        for part in parts
    )
    return len(here) + entered - unwritten + sum(map(_awaits, parts))
