"""Live counting: whatever happens to Redis and to others, counts follow SQL in the end."""

import asyncio
from collections import Counter
from contextlib import suppress

import msgspec
import pytest
from argus_contract import redis_keys
from argus_contract.redis_keys import LIVE_WINDOW_SECONDS
from argus_stream.backoff import Backoff
from argus_stream.count import LiveCounting
from argus_stream.errors import LiveError
from argus_stream.health import Watch
from argus_stream.sources import Lease, Source
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream import contracts
from tests.unit.stream.fakes import FakeCounters, FakeOutbox
from tests.unit.stream.samples import route

TOPIC = "argus.ns.web.0badcafe"
NOW = 1_800_000_000
TENANT = route(TOPIC).tenant.id


def encode(deltas: object) -> str:
    return msgspec.json.encode(deltas).decode()


class Bench:
    """Two processes that count for one pipeline of four partitions, two each."""

    def __init__(self) -> None:
        self.redis = FakeCounters()
        self.outbox = FakeOutbox(encode)
        self.sources = [Source(TOPIC, number) for number in range(4)]
        self.leases = {source: Lease(source, route(TOPIC), 0) for source in self.sources}
        self.processes = [self.process(), self.process()]
        for source in self.sources:
            self.outbox.entries[source] = []
            self.owner(source).opened(self.leases[source])

    def process(self) -> LiveCounting:
        return LiveCounting(
            self.redis,
            self.outbox,
            Backoff(0.001, 0.001),
            Watch(60, lambda: 0.0),
            now=lambda: NOW,
        )

    def owner(self, source: Source) -> LiveCounting:
        return self.processes[source.partition % 2]

    def store(self, source: Source, event: str, second: int = NOW) -> None:
        """A slice is stored and, unlike after a crash, its process hears of it."""
        entry = self.outbox.store(source, 2, {second: {event: 1}})
        self.owner(source).submit(self.leases[source], entry)

    def expected(self) -> dict[str, Counter[str]]:
        total: dict[str, Counter[str]] = {}
        for seconds in self.outbox.totals.values():
            for second, events in seconds.items():
                key = redis_keys.live(TENANT, "web", second)
                total.setdefault(key, Counter()).update(events)
        return total

    async def settle(self) -> None:
        """Both processes, until they have nothing to do; a check is always due."""
        for _ in range(3):
            for process in self.processes:
                process.check_soon()
                await process.settle()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_counts_what_was_stored(bench: Bench) -> None:
    for source in bench.sources:
        bench.store(source, "e")
    await bench.settle()
    assert bench.redis.counts == bench.expected()
    assert bench.redis.held == {
        redis_keys.fence(TENANT, TOPIC, source.partition): 2 for source in bench.sources
    }


async def test_whoever_rebuilds_catches_up_for_the_others_too(bench: Bench) -> None:
    """The other process applied a slice, which the older window throws back."""
    await bench.settle()
    other = bench.sources[1]
    del bench.redis.held[redis_keys.fence(TENANT, TOPIC, 0)]
    bench.outbox.before_window = lambda: overtake(bench, other)
    bench.store(bench.sources[0], "e")
    await bench.processes[0].settle()
    assert bench.redis.counts == bench.expected()
    assert bench.redis.held[redis_keys.fence(TENANT, TOPIC, 1)] == 2


async def test_a_slice_that_finds_the_fence_behind_is_counted_at_once(bench: Bench) -> None:
    await bench.settle()
    source = bench.sources[0]
    bench.outbox.store(source, 2, {NOW: {"missed": 1}})
    bench.store(source, "e")
    await bench.processes[0].settle()
    assert bench.redis.counts == bench.expected()


async def test_a_fence_older_than_an_outbox_with_nothing_newer_is_rebuilt(bench: Bench) -> None:
    await bench.settle()
    source = bench.sources[0]
    bench.outbox.store(source, 2, {NOW: {"missed": 1}})
    bench.outbox.pruned[source] = 2
    bench.owner(source).opened(Lease(source, route(TOPIC), 2))
    await bench.processes[0].settle()
    assert bench.redis.counts == bench.expected()


async def test_a_rebuild_does_not_count_again_what_waits_in_the_queue(bench: Bench) -> None:
    await bench.settle()
    bench.redis.held.clear()
    for source in bench.sources:
        bench.store(source, "e")
    await bench.processes[0].settle()
    await bench.processes[1].settle()
    assert bench.redis.counts == bench.expected()


async def test_seconds_that_left_the_window_are_not_counted(bench: Bench) -> None:
    await bench.settle()
    bench.store(bench.sources[0], "old", NOW - LIVE_WINDOW_SECONDS)
    bench.store(bench.sources[0], "new", NOW - LIVE_WINDOW_SECONDS + 1)
    await bench.settle()
    assert [*bench.redis.counts.values()] == [Counter(new=1)]


async def test_what_redis_did_not_take_is_taken_from_the_outbox(bench: Bench) -> None:
    await bench.settle()
    bench.redis.away = True
    for _ in range(400):
        bench.store(bench.sources[0], "e")
    with pytest.raises(LiveError, match="away"):
        await bench.processes[0].settle()
    bench.redis.away = False
    await bench.settle()
    assert bench.redis.counts == bench.expected()


async def test_a_pipeline_that_sql_does_not_know_does_not_keep_others_from_counting() -> None:
    bench = Bench()
    bench.processes[0].opened(Lease(Source("gone", 0), route("gone"), 0))
    for source in bench.sources:
        bench.store(source, "e")
    await bench.settle()
    assert bench.redis.counts == bench.expected()


async def test_its_task_survives_a_redis_that_is_away(bench: Bench) -> None:
    bench.redis.away = True
    running = asyncio.create_task(bench.processes[0].run())
    bench.store(bench.sources[0], "e")
    await asyncio.sleep(0.02)
    bench.redis.away = False
    try:
        await asyncio.wait_for(bench.redis.counted.wait(), 5)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_partitions_that_were_given_away_are_not_counted(bench: Bench) -> None:
    bench.processes[0].keep([])
    bench.store(bench.sources[0], "e")
    await bench.processes[0].settle()
    assert bench.redis.held == {}


class History:
    """What may happen, step by step, to one of four partitions or one of two processes."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.saved: tuple[dict[str, int], dict[str, Counter[str]]] = ({}, {})

    def end(self, number: int) -> int:
        """SQL's next offset."""
        entries = self.bench.outbox.entries[self.bench.sources[number]]
        return entries[-1].end if entries else 0

    def reopen(self, number: int) -> None:
        """The partition's process opens it where SQL is."""
        source = self.bench.sources[number]
        lease = self.bench.leases[source] = Lease(source, route(TOPIC), self.end(number))
        self.bench.owner(source).opened(lease)

    async def stored(self, number: int) -> None:
        """A slice is stored and its process told so."""
        self.bench.store(self.bench.sources[number], "e", NOW - number)

    async def died(self, number: int) -> None:
        """A process died after the commit, before it told anybody."""
        self.bench.outbox.store(self.bench.sources[number], 2, {NOW: {"u": 1}})
        self.reopen(number)

    async def settled(self, number: int) -> None:
        """A process does what it has to do."""
        await self.bench.processes[number % 2].settle()

    async def lost_a_fence(self, number: int) -> None:
        """One key was evicted."""
        self.bench.redis.held.pop(redis_keys.fence(TENANT, TOPIC, number), None)

    async def flushed(self, number: int) -> None:
        """Redis has forgotten everything."""
        self.bench.redis.held.clear()
        self.bench.redis.counts.clear()

    async def kept(self, number: int) -> None:
        """Redis has written its file."""
        self.saved = copied(self.bench.redis)

    async def restored(self, number: int) -> None:
        """Redis started from its file."""
        self.bench.redis.held = dict(self.saved[0])
        self.bench.redis.counts = {key: Counter(each) for key, each in self.saved[1].items()}

    async def pruned(self, number: int) -> None:
        """The outbox has dropped what is old."""
        self.bench.outbox.pruned[self.bench.sources[number]] = self.end(number)

    async def raced(self, number: int) -> None:
        """The next rebuild is overtaken by the owner of a partition."""
        source = self.bench.sources[number]
        self.bench.outbox.before_window = lambda: overtake(self.bench, source)

    async def away(self, number: int) -> None:
        """Redis does not answer while a process does what it has to do."""
        self.bench.redis.away = True
        with suppress(LiveError):
            await self.bench.processes[number % 2].settle()
        self.bench.redis.away = False

    async def restarted(self, number: int) -> None:
        """A new process has the partitions of an old one."""
        self.bench.processes[number % 2] = self.bench.process()
        for partition in (number % 2, number % 2 + 2):
            self.reopen(partition)


def copied(redis: FakeCounters) -> tuple[dict[str, int], dict[str, Counter[str]]]:
    return dict(redis.held), {key: Counter(each) for key, each in redis.counts.items()}


def overtake(bench: Bench, source: Source) -> None:
    """The owner stores and applies a slice between another's snapshot and its replacement."""
    bench.outbox.before_window = lambda: None
    entry = bench.outbox.store(source, 2, {NOW: {"m": 1}})
    bench.owner(source).submit(bench.leases[source], entry)
    fence = redis_keys.fence(TENANT, TOPIC, source.partition)
    if bench.redis.held.get(fence) == entry.start:
        bench.redis.held[fence] = entry.end
        key = redis_keys.live(TENANT, "web", NOW)
        bench.redis.counts.setdefault(key, Counter()).update({"m": 1})


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name in vars(History) if name[0] != "_"]).filter(
                lambda name: name not in ("end", "reopen")
            ),
            st.integers(0, 3),
        ),
        max_size=25,
    )
)
def test_whatever_happens_counts_and_fences_agree_with_sql_in_the_end(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        history = History()
        for step, number in steps:
            await getattr(history, step)(number)
        await history.bench.settle()
        assert history.bench.redis.counts == history.bench.expected()
        for number in range(4):
            fence = redis_keys.fence(TENANT, TOPIC, number)
            assert history.bench.redis.held[fence] == history.end(number)

    asyncio.run(run())


class TestFakeCounters(contracts.CountersContract):
    """The fake that the tests above trust."""

    @pytest.fixture
    def counters(self) -> FakeCounters:
        return FakeCounters()
