"""Restarts: those that were made, and those that nobody made."""

from dataclasses import replace

import pytest

from tests.chaos import node
from tests.chaos.pods import Pod, Restarts

STREAM = Pod(
    name="argus-stream-1",
    uid="1",
    component="stream",
    address="10.0.0.1",
    container="c",
    restarts=2,
    ready=True,
    leaving=False,
    ended="Error 1",
)
POSTGRES = replace(STREAM, name="argus-postgres-0", uid="2", component="postgres", restarts=0)


@pytest.fixture(autouse=True)
def last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod wrote before it ended."""

    async def kubectl(*words: str, timeout: float = 0) -> str:
        return "Traceback"

    monkeypatch.setattr(node, "kubectl", kubectl)


@pytest.fixture
def restarts() -> Restarts:
    """Knows both pods as they are."""
    made = Restarts()
    made.begin([STREAM, POSTGRES])
    return made


def after(pod: Pod, more: int) -> Pod:
    return replace(pod, restarts=pod.restarts + more)


async def test_what_was_before_does_not_count(restarts: Restarts) -> None:
    assert await restarts.judge([STREAM, POSTGRES]) == []


async def test_a_restart_that_was_made_is_as_it_should_be(restarts: Restarts) -> None:
    restarts.made(STREAM)

    assert await restarts.judge([after(STREAM, 1)]) == []


async def test_a_restart_that_nobody_made_is_told_once_with_the_last_words(
    restarts: Restarts,
) -> None:
    [odd] = await restarts.judge([after(STREAM, 1)])

    assert odd == "argus-stream-1 restarted 3 times instead of 2 (last end: Error 1): Traceback"
    assert await restarts.judge([after(STREAM, 1)]) == []


async def test_one_restart_more_than_was_made_is_told(restarts: Restarts) -> None:
    restarts.made(STREAM)

    assert len(await restarts.judge([after(STREAM, 2)])) == 1


async def test_a_restart_that_was_made_and_did_not_happen_is_told(restarts: Restarts) -> None:
    restarts.made(STREAM)

    assert len(await restarts.judge([STREAM])) == 1


async def test_a_new_pod_may_not_have_restarted(restarts: Restarts) -> None:
    assert len(await restarts.judge([replace(STREAM, uid="3", restarts=1)])) == 1


async def test_an_engine_is_excused_once(restarts: Restarts) -> None:
    restarts.excuse("postgres")

    assert await restarts.judge([after(POSTGRES, 3)]) == []
    assert len(await restarts.judge([after(POSTGRES, 4)])) == 1


def test_our_own_processes_are_never_excused(restarts: Restarts) -> None:
    with pytest.raises(AssertionError):
        restarts.excuse("stream")
