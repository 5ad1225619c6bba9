"""Trials: a stream that is killed at a point, another one that goes on, and what is left then."""

import asyncio
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from argus_contract import redis_keys
from argus_contract.rejects import Code
from argus_operator.adapters.migrations import migrate
from argus_runtime import assets
from redis.asyncio import Redis

from tests.integration.stream.awaits import workload
from tests.integration.stream.awaits.fork import ForkServer, Process
from tests.integration.stream.awaits.points import Point
from tests.integration.stream.awaits.server import Job
from tests.integration.stream.awaits.workload import Case, State
from tests.integration.stream.processes import variables
from tests.integration.stream.proxy import Proxy
from tests.integration.stream.world import Database, Message, World, event, reject, until

WITHIN: Final = 90.0
"""Seconds that one stream may take for the whole input, on a machine with much else to do."""
_HEAD: Final = 0.85
"""What of the input is there at the start."""
_BODY: Final = 0.95
"""What of it a stream gets that may be killed, the last of it at rest; a successor gets the rest.

So a successor always has something to do, and has done it when it has opened its partitions.
"""
_SETTINGS: Final = {
    "ARGUS_BATCH__RECORDS": "32",
    "ARGUS_BATCH__EAGER": "16",
    "ARGUS_BATCH__LINGER": "0.02",
    "ARGUS_STORE__FIRST_DELAY": "0.05",
    "ARGUS_STORE__MOST_DELAY": "0.2",
    "ARGUS_LETTER_PATIENCE": "5",
}
"""Small batches, several for each partition, and no way that only a slow machine would take."""
_ONE_BATCH: Final = {
    "ARGUS_BATCH__RECORDS": "1000",
    "ARGUS_BATCH__EAGER": "1000",
    "ARGUS_BATCH__LINGER": "0.5",
}
"""All pipelines in one batch."""
_GUARDED: Final = {
    "ARGUS_GUARD__RUN": "1",
    "ARGUS_GUARD__PROBE": "0.2",
    "ARGUS_LETTER_TIMEOUT": "60",
    "ARGUS_LETTER_PATIENCE": "60",
    "ARGUS_GRACE": "0.2",
}
"""The first refusal trips, so no letter is written that is none at the end; and nothing waits."""
_SESSIONS: Final = "pg_stat_activity WHERE datname = current_database() AND usename = $1"
_SHOWN_SECONDS: Final = 2.5
"""Enough for the stream to show its offsets twice."""
_HUNG_SECONDS: Final = 1.5
"""Enough for a partition that was opened to come to its first letter."""


@asynccontextmanager
async def lane(kafka: str, redis_url: str, database: Database) -> AsyncIterator[World]:
    """A world in a database of its own, because all streams of a database share its partitions."""
    name = f"it_{secrets.token_hex(4)}"
    url = f"{database.url.rpartition('/')[0]}/{name}"
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(database.url)
        stack.push_async_callback(admin.close)
        await admin.execute(f"CREATE DATABASE {name}")
        stack.push_async_callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
        owner = await asyncpg.connect(url)
        try:
            await migrate(owner, timeout=60)
        finally:
            await owner.close()
        redis = Redis.from_url(redis_url)
        stack.push_async_callback(redis.aclose)
        world = World(kafka, redis, redis_url, Database(url, database.user))
        await world.start()
        stack.push_async_callback(world.stop)
        yield world


class Trials:
    """Streams the same input again and again, each time into a pipeline of its own."""

    def __init__(
        self,
        world: World,
        server: ForkServer,
        logs: Sequence[Sequence[Message]],
        directory: Path,
    ) -> None:
        self.world = world
        self._server = server
        self._logs = logs
        self._directory = directory
        self._number = 0

    async def prepare(self) -> Case:
        """A new pipeline."""
        self._number += 1
        return await workload.prepare(self.world, f"p{self._number}", self._logs)

    def start(self, **changes: str) -> Process:
        """A process with these changes of its environment."""
        return self._fork(None, 1, None, changes)

    def _fork(
        self, point: Point | None, nth: int, report: Path | None, changes: dict[str, str]
    ) -> Process:
        name = secrets.token_hex(4)
        environment = variables(self.world) | _SETTINGS | {"ARGUS_ASSETS": self._assets(name)}
        return self._server.fork(
            Job(
                name,
                environment | changes,
                None if point is None else point.key,
                nth,
                None if report is None else str(report),
            )
        )

    def _assets(self, name: str) -> str:
        """Scripts that no Redis has seen yet, so that each process has to load them."""
        target = self._directory / name
        shutil.copytree(assets.path("lua"), target / "lua")
        for script in (target / "lua").iterdir():
            script.write_text(f"{script.read_text()}\n-- {name}\n")
        return str(target)

    async def undisturbed(self) -> State:
        """What is left of a run that nobody disturbs."""
        async with plain(self) as (case, _, _):
            await self._finish(case)
        return await workload.state(self.world, case.pipeline)

    async def unharmed(self, way: "Way") -> tuple[State, Counter[str]]:
        """What is left of a run that nobody kills, and how often it reached each point."""
        report = self._directory / secrets.token_hex(4)
        async with way(self) as (case, environment, accompany):
            process = self._fork(None, 1, report, environment)
            await accompany(process)
            assert await process.end() == 0
        await self._finish(case)
        counts = msgspec.json.decode(report.read_bytes(), type=dict[str, int])
        return await workload.state(self.world, case.pipeline), Counter(counts)

    async def killed(self, way: "Way", point: Point, nth: int) -> State | None:
        """What is left where a stream was killed; None where it never came to this point."""
        async with way(self) as (case, environment, accompany):
            process = self._fork(point, nth, None, environment)
            await accompany(process)
            status = await process.end()
        assert status in (0, -signal.SIGKILL), f"{point}: exit code {status}"
        if status == 0:
            return None
        await self._finish(case)
        return await workload.state(self.world, case.pipeline)

    async def _finish(self, case: Case) -> None:
        """Lets another stream do what is left, as if its predecessor had long been silent."""
        await case.alone()
        await self.world.sql.execute("DELETE FROM argus.members")
        successor = self.start()
        await finish(case, successor, 1.0)
        assert await successor.end() == 0


Accompany = Callable[[Process], Awaitable[None]]
Way = Callable[[Trials], AbstractAsyncContextManager[tuple[Case, dict[str, str], Accompany]]]
"""Makes a case; gives what to change in its process's environment, and what to do beside it."""


async def finish(case: Case, process: Process, share: float) -> None:
    """Feeds that much; returns once all of it is counted, or the process has ended."""
    await _unless_ended(process, case.counted)
    await case.feed(share)
    await _unless_ended(process, case.counted)


async def _unless_ended(process: Process, condition: Callable[[], Awaitable[bool]]) -> None:
    async def over() -> bool:
        return process.ended.done() or await condition()

    await until(over, WITHIN, condition.__name__)


@asynccontextmanager
async def plain(trials: Trials) -> AsyncIterator[tuple[Case, dict[str, str], Accompany]]:
    """Nothing is wrong but what is in the input."""
    case = await trials.prepare()
    await case.feed(_HEAD)
    yield case, {}, lambda process: finish(case, process, _BODY)


@asynccontextmanager
async def troubled(trials: Trials) -> AsyncIterator[tuple[Case, dict[str, str], Accompany]]:
    """Everything around it fails once, so that the stream also goes the ways of failures."""
    world = trials.world
    case = await trials.prepare()
    await _fall_behind(trials, case)
    other = await world.add_pipeline(f"{case.pipeline.name}-other")
    await world.produce(other, [event() for _ in range(200)])
    await world.sql.execute(
        f"ALTER TABLE {other.schema}.{other.table} RENAME COLUMN distinct_id TO away"
    )
    beyond = await world.add_pipeline(f"{case.pipeline.name}-beyond")
    await world.sql.execute("SELECT argus.open_partition($1, 0, 100)", beyond.topic)
    await case.feed(_HEAD)
    async with _proxy(world.bootstrap) as kafka, _proxy(world.redis_url) as redis:
        kafka.cut()
        redis.cut()

        async def accompany(process: Process) -> None:
            await _refused(process, kafka)
            kafka.mend()
            await _break_sessions(case, process)
            await _refused(process, redis)
            redis.mend()
            await finish(case, process, _BODY)
            await _delete(world, other.topic)
            await asyncio.wait({process.ended}, timeout=_SHOWN_SECONDS)

        yield case, _ONE_BATCH | _through(world, kafka, redis), accompany


async def _fall_behind(trials: Trials, case: Case) -> None:
    """Redis has not counted all that is stored, and has forgotten all of one partition."""
    world = trials.world
    for share, changes, done in (
        (0.1, {}, case.counted),
        (0.2, {"ARGUS_REDIS__URL": "redis://127.0.0.1:1/0"}, case.stored),
    ):
        await case.feed(share)
        process = trials.start(**changes)
        await _unless_ended(process, done)
        assert await process.end() == 0
    await world.redis.delete(redis_keys.fence(world.tenant, case.pipeline.topic, 1))


@asynccontextmanager
async def _proxy(address: str) -> AsyncIterator[Proxy]:
    url = urlsplit(address if "//" in address else f"//{address}")
    async with Proxy(url.hostname or "", url.port or 0).listening() as proxy:
        yield proxy


def _through(world: World, kafka: Proxy, redis: Proxy) -> dict[str, str]:
    url = urlsplit(world.redis_url)
    return {
        "ARGUS_KAFKA__BOOTSTRAP": f"127.0.0.1:{kafka.port}",
        "ARGUS_REDIS__URL": url._replace(
            netloc=url.netloc.replace(f":{url.port}", f":{redis.port}")
        ).geturl(),
    }


async def _refused(process: Process, proxy: Proxy) -> None:
    async def refused() -> bool:
        return proxy.refused > 0

    await _unless_ended(process, refused)


async def _break_sessions(case: Case, process: Process) -> None:
    """Ends all sessions while a storing call and a report wait for tables."""
    world = case.world
    table = f"{case.pipeline.schema}.{case.pipeline.table}"
    async with world.sql.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table}, argus.partition_states IN SHARE MODE")

        async def both_wait() -> bool:
            waiting = await world.sql.fetchval(
                f"SELECT count(*) FROM {_SESSIONS} AND wait_event_type = 'Lock'", world.user
            )
            return int(waiting) >= 2

        await _unless_ended(process, both_wait)
        await world.sql.execute(f"SELECT pg_terminate_backend(pid) FROM {_SESSIONS}", world.user)


@asynccontextmanager
async def guarded(trials: Trials) -> AsyncIterator[tuple[Case, dict[str, str], Accompany]]:
    """Its table refuses everything for a while; at the end another pipeline's letters hang."""
    world = trials.world
    case = await trials.prepare()
    await case.feed(_HEAD)
    table = f"{case.pipeline.schema}.{case.pipeline.table}"
    tries = f"{case.pipeline.schema}.tries_{case.pipeline.name}"
    await world.sql.execute(f"CREATE SEQUENCE {tries}")
    await world.sql.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (nextval('{tries}') < 0)"
    )

    async def tripped() -> bool:
        states = await world.sql.fetch(
            "SELECT state FROM argus.partition_states WHERE topic = $1", case.pipeline.topic
        )
        return bool(states) and all(row["state"] == "guarded" for row in states)

    async def tried() -> bool:
        """Whether trials refused all of their records together, and then some one by one."""
        return int(await world.sql.fetchval(f"SELECT last_value FROM {tries}")) >= most + 5

    async def stores_again() -> bool:
        return (await world.ledger(case.pipeline))["stored"] > 0

    most = 0

    async def accompany(process: Process) -> None:
        nonlocal most
        await _unless_ended(process, tripped)
        most = int(await world.sql.fetchval(f"SELECT last_value FROM {tries}"))
        await _unless_ended(process, tried)
        await world.sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken")
        await _unless_ended(process, stores_again)
        await _hang(case, process)

    yield case, _GUARDED, accompany


async def _hang(case: Case, process: Process) -> None:
    """Lets the stream wait for letters of a pipeline whose dead-letter topic is gone."""
    world = case.world
    mute = await world.add_pipeline(f"{case.pipeline.name}-mute")
    await _delete(world, mute.dead_letter_topic)
    await world.produce(mute, [reject(Code.INVALID_EVENT, b"{}")])

    async def opened() -> bool:
        return (
            await world.sql.fetchval(
                "SELECT EXISTS (SELECT FROM argus.offsets WHERE topic = $1)", mute.topic
            )
            is True
        )

    await _unless_ended(process, opened)
    await asyncio.wait({process.ended}, timeout=_HUNG_SECONDS)


async def _delete(world: World, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
