"""Refused before retention could delete what nobody has stored."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_ingest.backlog import PartitionState, Question
from argus_ingest.errors import BacklogError, BodyTooLargeError
from argus_ingest.pressure import Look, Pressure, Watch
from argus_ingest.settings import PressureSettings
from prometheus_client import REGISTRY

from tests.unit.ingest.helpers import FakeWatcher, document, pipeline, state

MAIN = pipeline(retention_bytes=1_000, retention_seconds=100)
TENANT = document(MAIN)
SETTINGS = PressureSettings()


async def test_retry_after_is_the_backlog_over_the_rate_at_which_it_drains() -> None:
    watch = Watch("ns/acme", MAIN)
    for second in range(5):
        watch.see(
            [state(end=1_000, committed=second * 10, size=0)], SETTINGS, 1, Look(float(second), 0)
        )
    assert watch.retry_after() == pytest.approx(96.0)


async def test_a_backlog_that_stands_still_has_the_longest_retry_after() -> None:
    watch = Watch("ns/acme", MAIN)
    for second in range(5):
        watch.see([state(end=1_000 + second, committed=10)], SETTINGS, 1, Look(float(second), 0))
    assert watch.retry_after() == 300


@asynccontextmanager
async def watching(
    watcher: FakeWatcher, replicas: int = 1, **changes: float
) -> AsyncIterator[Pressure]:
    pressure = Pressure(watcher, PressureSettings(**{"interval": 0.02, **changes}), replicas)
    task = asyncio.create_task(pressure.run())
    try:
        yield pressure
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_pipeline_with_room_is_free() -> None:
    async with watching(FakeWatcher()) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        assert pressure.free(MAIN, 1)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (state(committed=0, size=800), "80%"),
        (state(committed=0, recent=50), "older than 80 s"),
        (state(committed=None, size=900), "90%"),
        (state(end=0, committed=1), "made anew or cut"),
        (state(end=100, committed=101, size=900), "made anew or cut"),
    ],
)
async def test_a_backlog_is_refused_until_it_is_drained(seen: PartitionState, says: str) -> None:
    watcher = FakeWatcher()
    watcher.states[MAIN.topic] = [seen]
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        with pytest.raises(BacklogError, match=says) as refused:
            await pressure.admit(MAIN, 1)
        assert refused.value.retry_after
        watcher.states[MAIN.topic] = [state()]
        await asyncio.sleep(0.1)
        await pressure.admit(MAIN, 1)


async def test_a_commit_that_vanishes_with_its_topic_is_remembered() -> None:
    watcher = FakeWatcher()
    watcher.states[MAIN.topic] = [state(committed=90)]
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        watcher.states[MAIN.topic] = [state(end=3, committed=None)]
        await asyncio.sleep(0.1)
        with pytest.raises(BacklogError, match="made anew or cut"):
            await pressure.admit(MAIN, 1)
        watcher.states[MAIN.topic] = [state(end=3, committed=1)]
        await asyncio.sleep(0.1)
        await pressure.admit(MAIN, 1)


def room(pressure: Pressure, where: Pipeline = MAIN) -> Watch:
    """The watch of a pipeline that has room."""
    watch = pressure.free(where, 1)
    assert watch is not None
    return watch


@pytest.mark.parametrize("replicas", [1, 4])
async def test_between_two_looks_no_more_is_taken_than_the_room_that_the_last_one_found(
    replicas: int,
) -> None:
    watcher = FakeWatcher()
    watcher.states[MAIN.topic] = [state(committed=50, size=400)]  # 200 of 800 bytes
    async with watching(watcher, replicas, interval=60.0) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        taken = 0
        while watch := pressure.free(MAIN, 10):
            watch.offered += 10
            watch.settled += 10
            taken += 10
        assert taken == 600 / replicas
        with pytest.raises(BacklogError, match="no room for 1 bytes now"):
            await pressure.admit(MAIN, 1)


async def test_a_request_larger_than_the_room_is_not_taken_though_there_is_some() -> None:
    watcher = FakeWatcher()
    watcher.states[MAIN.topic] = [state(committed=50, size=400)]  # 200 of 800 bytes
    async with watching(watcher, interval=60.0) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 600)
        assert not pressure.free(MAIN, 601)
        with pytest.raises(BacklogError, match="no room for 601 bytes") as refused:
            await pressure.admit(MAIN, 601)
        assert refused.value.retry_after
        room(pressure).offered += 500
        assert pressure.free(MAIN, 100)
        assert not pressure.free(MAIN, 101)


@pytest.mark.parametrize(("replicas", "largest"), [(1, 800), (3, 266)])
async def test_what_would_not_fit_an_empty_log_is_refused_for_good(
    replicas: int, largest: int
) -> None:
    async with watching(FakeWatcher(), replicas, interval=60.0) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, largest)
        assert not pressure.free(MAIN, largest + 1)
        with pytest.raises(BodyTooLargeError, match=f"never takes more than {largest}") as refused:
            await pressure.admit(MAIN, largest + 1)
        assert refused.value.members == {"limit": largest}


async def test_what_can_never_fit_is_told_so_before_anything_is_looked_at() -> None:
    with pytest.raises(BodyTooLargeError):
        await Pressure(FakeWatcher(), SETTINGS, 1).admit(MAIN, 801)


async def test_a_refused_pipeline_takes_nothing_at_all() -> None:
    watch = Watch("ns/acme", MAIN)
    watch.see([state(committed=0, size=900)], SETTINGS, 1, Look(0.0, 0))
    assert not watch.is_free(0, 1.0)


async def test_the_next_look_knows_what_was_settled_before_it_and_nothing_else() -> None:
    watcher = FakeWatcher()
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        watch = room(pressure)
        watch.offered += 900
        assert not pressure.free(MAIN, 1)
        await asyncio.sleep(0.1)
        # It may be in the log or not: the look cannot tell.
        assert not pressure.free(MAIN, 1)
        watch.settled += 900
        await asyncio.sleep(0.1)
        assert pressure.free(MAIN, 1)


async def test_what_is_settled_during_a_look_may_not_be_in_it() -> None:
    watcher = FakeWatcher()
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        watch, look, during = room(pressure), watcher.look, asyncio.Event()

        async def slow(
            questions: Mapping[TopicName, Question],
        ) -> Mapping[TopicName, list[PartitionState]]:
            seen = await look(questions)
            during.set()
            await asyncio.sleep(0.05)
            watcher.fault = OSError("no more looks")
            return seen

        watcher.look = slow  # type: ignore[method-assign]
        await during.wait()
        watch.offered += 900
        watch.settled += 900
        await asyncio.sleep(0.15)
        assert not pressure.free(MAIN, 1)


async def test_of_many_partitions_one_may_get_everything() -> None:
    wide = pipeline(retention_bytes=1_000, partitions=4)
    watcher = FakeWatcher()
    watcher.states[wide.topic] = [state()] * 4
    async with watching(watcher, interval=60.0) as pressure:
        pressure.update({TENANT.id: document(wide)})
        await pressure.admit(wide, 1)
        room(pressure, wide).offered += 199
        assert pressure.free(wide, 1)
        room(pressure, wide).offered += 1
        assert not pressure.free(wide, 1)


async def test_a_look_counts_no_longer_than_what_it_saw_cannot_expire() -> None:
    brief = pipeline(retention_bytes=1_000, retention_seconds=1)
    watcher = FakeWatcher()
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: document(brief)})
        await pressure.admit(brief, 1)
        watcher.fault = OSError("gone")
        await asyncio.sleep(0.1)
        assert pressure.free(brief, 1)
        await asyncio.sleep(0.2)
        assert not pressure.free(brief, 1)


async def test_the_age_that_is_asked_for_is_the_threshold_of_retention() -> None:
    watcher = FakeWatcher()
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
    assert watcher.asked[0][MAIN.topic].age == pytest.approx(80.0)


async def test_what_could_not_be_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argus_ingest.pressure._FIRST_LOOK", 0.05)
    watcher = FakeWatcher()
    watcher.fault = OSError("no coordinator")
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        with pytest.raises(BacklogError, match="not known"):
            await pressure.admit(MAIN, 1)
        with pytest.raises(BacklogError, match="not known"):
            await pressure.admit(pipeline("stranger"), 1)
        watcher.fault = None
        await asyncio.sleep(0.1)
        await pressure.admit(MAIN, 1)


async def test_an_old_look_does_not_count() -> None:
    watcher = FakeWatcher()
    async with watching(watcher, stale_after=0.1) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        watcher.fault = OSError("gone")
        await asyncio.sleep(0.2)
        with pytest.raises(BacklogError, match="not known"):
            await pressure.admit(MAIN, 1)


async def test_a_new_pipeline_is_looked_at_at_once() -> None:
    watcher = FakeWatcher()
    async with watching(watcher, interval=60.0) as pressure:
        await asyncio.sleep(0.01)
        pressure.update({TENANT.id: TENANT})
        async with asyncio.timeout(1):
            await pressure.admit(MAIN, 1)


async def test_a_pipeline_that_is_gone_is_shown_no_more_even_by_a_look_under_way() -> None:
    def shown() -> object:
        labels = {"tenant": TENANT.display, "pipeline": MAIN.name}
        return REGISTRY.get_sample_value("argus_ingest_refusing", labels)

    watcher = FakeWatcher()
    async with watching(watcher) as pressure:
        pressure.update({TENANT.id: TENANT})
        await pressure.admit(MAIN, 1)
        assert shown() == 0
        look = watcher.look

        async def leaving(
            questions: Mapping[TopicName, Question],
        ) -> Mapping[TopicName, list[PartitionState]]:
            pressure.update({TENANT.id: document(pipeline("other"))})
            return await look(questions)

        watcher.look = leaving  # type: ignore[method-assign]
        await asyncio.sleep(0.1)
        assert shown() is None
