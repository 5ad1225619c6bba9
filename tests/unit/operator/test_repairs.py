"""What a run says of itself: whether it wrote, whether it met an error, what drift it mended."""

import asyncio

import pytest
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.reconcile import repairs
from argus_operator.reconcile.verdict import Verdict
from argus_operator.topics import TopicState
from prometheus_client import REGISTRY

from tests.unit.operator.fakes import away
from tests.unit.operator.world import SECRET, SHOP, WEB, World


def repaired(what: str) -> float:
    value = REGISTRY.get_sample_value("argus_operator_drift_repaired_total", {"what": what})
    return value or 0.0


async def test_the_tasks_of_a_run_share_it_and_other_runs_do_not() -> None:
    with repairs.recording() as outer:
        with repairs.recording() as inner:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(repairs.note, "status"))
        assert inner.of(Verdict()) == Verdict(acted=True)
        assert outer.of(Verdict()) == Verdict()


async def test_a_first_look_acts_and_a_second_is_quiet(world: World) -> None:
    world.tenant()
    world.pipeline()
    before = {what: repaired(what) for what in ("topic", "tables", "secret", "registry")}

    assert (await world.reconcile()).acted
    await world.settle()
    assert (await world.reconcile()).quiet
    assert before == {what: repaired(what) for what in before}


@pytest.mark.parametrize("what", ["topic", "topic_config", "tables", "secret", "registry"])
async def test_drift_is_counted_and_makes_a_run_that_is_not_quiet(
    running: World, what: str
) -> None:
    match what:
        case "topic":
            del running.kafka.topics[running.topic()]
        case "topic_config":
            running.kafka.topics[running.topic()] = TopicState(1, {"retention.ms": "1"})
        case "tables":
            running.database.pipelines.clear()
        case "secret":
            del running.cluster.secrets[SECRET]
        case "registry":
            running.registry.held.clear()
    before = repaired(what)
    verdict = await running.reconcile()

    assert verdict.acted
    assert repaired(what) == before + 1


async def test_a_changed_spec_is_no_drift(running: World) -> None:
    names = ("topic", "topic_config", "tables", "secret", "registry")
    before = {what: repaired(what) for what in names}
    running.pipeline(WEB, {"topic": {"partitions": 2, "retention": {"hours": 3}}})
    running.tenant({"apiKeys": [{"name": "other"}]})

    assert (await running.reconcile()).acted
    assert before == {what: repaired(what) for what in names}


@pytest.mark.parametrize("adapter", ["kafka", "database", "registry"])
async def test_a_run_that_met_an_error_is_not_quiet(running: World, adapter: str) -> None:
    getattr(running, adapter).error = away("Away")

    assert not (await running.reconcile()).quiet


async def test_what_no_other_attempt_helps_is_not_quiet_either(running: World) -> None:
    """What another tenant must change first is told by nothing of this family's own."""
    running.tenant({"tier": "unheard-of"})
    await running.reconcile()
    verdict = await running.reconcile()

    assert not verdict.retry
    assert not verdict.quiet
    assert running.ready(TENANTS, SHOP) == ("False", "UnknownTier")
