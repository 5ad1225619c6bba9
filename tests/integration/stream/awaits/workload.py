"""One input with everything in it that a log may hold, and all that the stream makes of it."""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from argus_contract import headers, ids, redis_keys
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code

from tests.integration.stream.world import Message, World, event, reject

PARTITIONS: Final = 2
_KINDS: Final = {
    "view": 10,
    "click": 8,
    "é": 6,
    "by_id": 3,
    "reject": 3,
    "old": 6,
    "nul": 1,
    "stranger": 1,
}
"""How many of each, in any order."""
_POISON: Final = ((0.05, "poison"), (0.5, "number"), (0.7, "poison"))
"""What the database refuses, and where: some in each piece of the log that a test may feed."""
TOPIC: Final = "TOPIC"
"""Stands for the topic's name in headers, until it has one."""
_COPIES: Final = 8
_STEP: Final = 10_000
"""Microseconds of receipt between two records."""
_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z")
_CHUNK: Final = re.compile(rb'"_hyper_[^"]*"')

State = dict[str, Any]


def log(base: int, partition: int) -> list[Message]:
    """A partition's log; `base` is the time of its events, microseconds since the epoch.

    What repeats something comes later in the same partition, so that it is known which of the two
    is the repeat. Values add up exactly in any order.
    """
    choose = random.Random(partition)
    kinds = [kind for kind, number in _KINDS.items() for _ in range(number)]
    choose.shuffle(kinds)
    for share, kind in _POISON:
        kinds.insert(round(share * len(kinds)), kind)
    made = [_message(kind, base, number, choose) for number, kind in enumerate(kinds)]
    for _ in range(_COPIES):
        place = choose.randrange(len(made) - 1)
        made.insert(choose.randrange(place + 1, len(made)), made[place])
    _add_replays(made, partition, base)
    return made


def _add_replays(made: list[Message], partition: int, base: int) -> None:
    """Two letters of the log's first half are tried again after that, one of them in vain.

    Of each replay there is a copy, as of a run that was cut off and is repeated.
    """
    middle = len(made) // 2
    letters = [place for place, message in enumerate(made[:middle]) if _is_old(message)]
    place = middle
    for letter, time in zip(letters[:2], (base, 1), strict=True):
        root = f"{TOPIC}/{partition}/{letter}".encode()
        (_, identity), *_ = made[letter].headers
        replay = event("again", id=identity.decode(), time=time, received=base)
        replay.headers += [(headers.REPLAY_OF, root), (headers.ATTEMPT, b"2")]
        made[place:place] = [replay]
        made[place + 5 : place + 5] = [replay]
        place += 3


def _is_old(message: Message) -> bool:
    return b'"old"' in (message.value or b"")


def _message(kind: str, base: int, number: int, choose: random.Random) -> Message:
    received = base + number * _STEP
    identity = ids.new_id(base + choose.randrange(1_000_000))
    time = received - choose.randrange(100) * 1_000_000
    match kind:
        case "by_id":
            return event(id=identity, time=received, received=received, by_id=True, value=0.5)
        case "old":
            return event(kind, id=identity, time=1, received=received)
        case "nul":
            return event(kind, id=identity, time=time, properties='{"a":"\\u0000"}')
        case "number":
            return event(kind, id=identity, time=time, properties='{"a":1e999999}')
        case "reject":
            return reject(Code.INVALID_EVENT, b'{"number":%d}' % number, id=identity)
        case "stranger":
            return Message(b"stranger", [])
        case _:
            value = choose.randrange(64) / 4
            return event(kind, id=identity, time=time, received=received, value=value)


class Case:
    """One pipeline with this input, which it is given piece by piece."""

    def __init__(self, world: World, pipeline: Pipeline, logs: Sequence[Sequence[Message]]) -> None:
        self.world = world
        self.pipeline = pipeline
        self._logs = logs
        self._fed = [0] * len(logs)

    async def feed(self, share: float) -> None:
        """Produces each partition's log up to this share of it, where that is not there yet."""
        for partition, messages in enumerate(self._logs):
            begin, end = self._fed[partition], round(len(messages) * share)
            if begin < end:
                some = [self._addressed(message) for message in messages[begin:end]]
                await self.world.produce(self.pipeline, some, partition=partition)
                self._fed[partition] = end

    async def alone(self) -> None:
        """Takes all other pipelines out of the registry."""
        self.world.pipelines = {self.pipeline.name: self.pipeline}
        await self.world.publish()

    def _addressed(self, message: Message) -> Message:
        topic = self.pipeline.topic.encode()
        found = [(name, value.replace(TOPIC.encode(), topic)) for name, value in message.headers]
        return Message(message.value, found, message.key)

    async def stored(self) -> bool:
        """Whether SQL has settled all that was fed."""
        rows = await self.world.sql.fetch(
            "SELECT next_offset FROM argus.offsets WHERE topic = $1 ORDER BY partition",
            self.pipeline.topic,
        )
        return [row["next_offset"] for row in rows] == self._fed

    async def counted(self) -> bool:
        """Whether it is stored, and Redis says that it has counted all of it."""
        return await self.stored() and await fences(self.world, self.pipeline) == self._fed


async def prepare(world: World, name: str, logs: Sequence[Sequence[Message]]) -> Case:
    """A pipeline that refuses poison, the only one of the world's registry, with nothing in it."""
    world.pipelines.clear()
    pipeline = await world.add_pipeline(name, partitions=len(logs))
    table = f"{pipeline.schema}.{pipeline.table}"
    await world.sql.execute(f"ALTER TABLE {table} ADD CHECK (event <> 'poison')")
    return Case(world, pipeline, logs)


async def fences(world: World, pipeline: Pipeline) -> list[int | None]:
    """Up to which offsets Redis has counted."""
    found = await world.redis.mget(
        [
            redis_keys.fence(world.tenant, pipeline.topic, partition)
            for partition in range(pipeline.partitions)
        ]
    )
    return [None if fence is None else int(fence) for fence in found]


async def state(world: World, pipeline: Pipeline) -> State:
    """All that is left of the input, by what it is; names of this pipeline are left out."""
    schema = pipeline.schema
    rollup = pipeline.table.replace("events_", "rollup_", 1)

    async def query(statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        rows = await world.sql.fetch(statement, *arguments)
        return [
            tuple((name, _unnamed(value, pipeline)) for name, value in row.items()) for row in rows
        ]

    return {
        "rows": await query(
            f"SELECT * FROM {schema}.{pipeline.table} ORDER BY source_partition, source_offset"
        ),
        "rollups": await query(f"SELECT * FROM {schema}.{rollup} ORDER BY minute, event"),
        "ledger": await query(
            "SELECT partition, first_offset, next_offset, stored, duplicate, dead_lettered, "
            "skipped, lost, expired FROM argus.ledger WHERE topic = $1 ORDER BY partition",
            pipeline.topic,
        ),
        "recorded letters": await query(
            "SELECT partition, source_offset, id, code, event, step, root, attempt "
            "FROM argus.dead_letters WHERE topic = $1 ORDER BY partition, source_offset",
            pipeline.topic,
        ),
        "letters by reason": await query(
            "SELECT partition, code, n FROM argus.letter_counts WHERE topic = $1 "
            "ORDER BY partition, code",
            pipeline.topic,
        ),
        "replays": await query(
            "SELECT root, attempt, outcome, partition, source_offset FROM argus.replays "
            "WHERE topic = $1 ORDER BY root",
            pipeline.topic,
        ),
        "audit": await query(
            "SELECT stored, rows, dead_lettered, letters, balanced FROM argus.audit "
            "WHERE namespace = $1 AND pipeline = $2",
            world.namespace,
            pipeline.name,
        ),
        "outbox": await _outbox(world, pipeline),
        "counters": await _counters(world, pipeline),
        "fences": await fences(world, pipeline),
        "commits": [
            await world.committed(pipeline, partition) for partition in range(pipeline.partitions)
        ],
        "letters": await _letters(world, pipeline),
    }


def _unnamed(value: Any, pipeline: Pipeline) -> Any:
    return value.replace(pipeline.topic, TOPIC) if isinstance(value, str) else value


async def _outbox(world: World, pipeline: Pipeline) -> dict[int, list[int]]:
    """From where to where the outbox leads without a gap: how it is cut is left to chance."""
    spans: dict[int, list[int]] = defaultdict(list)
    for row in await world.sql.fetch(
        "SELECT partition, from_offset, to_offset FROM argus.outbox WHERE topic = $1 "
        "ORDER BY partition, from_offset",
        pipeline.topic,
    ):
        span = spans[row["partition"]]
        if span and span[-1] == row["from_offset"]:
            span[-1] = row["to_offset"]
        else:
            span += (row["from_offset"], row["to_offset"])
    return dict(spans)


async def _counters(world: World, pipeline: Pipeline) -> dict[int, dict[Any, Any]]:
    """The live window by second."""
    prefix = redis_keys.live(world.tenant, pipeline.name, 0).removesuffix("0")
    return {
        int(key.decode().removeprefix(prefix)): await world.redis.hgetall(key)
        async for key in world.redis.scan_iter(f"{prefix}*", count=10_000)
    }


async def _letters(world: World, pipeline: Pipeline) -> dict[bytes, tuple[object, ...]]:
    """Dead letters by what follows the topic in their key; copies must be the same letter."""
    found: dict[bytes, tuple[object, ...]] = {}
    for record in await world.letters(pipeline):
        fields = {name: value for name, value in record.headers if name != headers.TIME}
        for name in (headers.SOURCE_TOPIC, headers.TENANT, headers.PIPELINE):
            del fields[name]
        if headers.ROOT in fields:
            fields[headers.ROOT] = fields[headers.ROOT].replace(
                pipeline.topic.encode(), TOPIC.encode()
            )
        error = fields[headers.ERROR].replace(pipeline.table.encode(), b"TABLE")
        fields[headers.ERROR] = _CHUNK.sub(b"CHUNK", _TIME.sub(b"TIME", error))
        letter = (record.value, tuple(sorted(fields.items())))
        key = record.key.removeprefix(pipeline.topic.encode())
        known = found.setdefault(key, letter)
        assert known == letter, f"two different letters of {key!r}"
    return found


def differences(expected: State, found: State) -> list[str]:
    """What is not as it should be, in words."""
    return [
        f"{what}: {_difference(expected[what], found[what])}"
        for what in expected
        if expected[what] != found[what]
    ]


def _difference(expected: Any, found: Any) -> str:
    if isinstance(expected, dict):
        expected, found = sorted(expected.items()), sorted(found.items())
    missing = [each for each in expected if each not in found]
    strange = [each for each in found if each not in expected]
    if not missing and not strange:
        return "another order, or copies"
    return f"missing {missing[:3]}, instead {strange[:3]} ({len(missing)}, {len(strange)})"
