"""Who leads: one at a time, by clocks that are not compared, and nobody by what may be over."""

import asyncio
import dataclasses
from dataclasses import dataclass, field

import pytest
from argus_operator.errors import BusyError
from argus_operator.lease import Leadership, LeaseLostError
from argus_operator.settings import LeaseSettings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.operator.fakes import FakeLease, away

SETTINGS = LeaseSettings(namespace="n", duration=15, renew=0.001, retry=0.001)


@dataclass
class Clock:
    """Seconds that tests let pass."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pair:
    """Two operators and the lease between them."""

    store: FakeLease = field(default_factory=FakeLease)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.a = Leadership(self.store, "a", SETTINGS, self.clock)
        self.b = Leadership(self.store, "b", SETTINGS, self.clock)


async def takes(lead: Leadership) -> bool:
    """Whether it leads after a few tries."""
    try:
        async with asyncio.timeout(0.03):
            await lead.take()
    except TimeoutError:
        return False
    return True


async def keeps(lead: Leadership) -> None:
    """Some renewals."""
    try:
        async with asyncio.timeout(0.03):
            await lead.keep()
    except TimeoutError:
        return


def is_good(lead: Leadership) -> bool:
    """Whether it may work."""
    try:
        lead.check()
    except BusyError:
        return False
    return True


async def test_the_second_waits_until_the_first_was_silent_for_long_enough() -> None:
    pair = Pair()
    assert await takes(pair.a)
    assert not await takes(pair.b)
    pair.clock.now += 14.9
    assert not await takes(pair.b)
    pair.clock.now += 0.1
    assert await takes(pair.b)

    assert (is_good(pair.a), is_good(pair.b)) == (False, True)
    with pytest.raises(LeaseLostError, match="b leads"):
        await pair.a.keep()
    assert not pair.a.leads


async def test_one_that_renews_is_never_taken_over() -> None:
    pair = Pair()
    assert await takes(pair.a)
    for _ in range(4):
        assert not await takes(pair.b)
        pair.clock.now += 9
        await keeps(pair.a)
        assert is_good(pair.a)


async def test_what_is_given_back_is_taken_at_once() -> None:
    pair = Pair()
    assert await takes(pair.a)
    await pair.a.release()

    assert not is_good(pair.a)
    assert await takes(pair.b)


async def test_no_work_is_begun_by_one_that_could_not_renew() -> None:
    pair = Pair()
    assert await takes(pair.a)
    pair.store.error = away("KubernetesUnavailable")
    pair.clock.now += 10
    await keeps(pair.a)
    assert not is_good(pair.a)
    assert pair.a.leads

    pair.store.error = None
    await keeps(pair.a)
    assert is_good(pair.a)


@pytest.mark.parametrize("lost", ["deleted", "edited", "cleared"])
async def test_a_lease_that_somebody_touched_is_kept(lost: str) -> None:
    pair = Pair()
    assert await takes(pair.a)
    assert pair.store.held is not None
    pair.store.held = {
        "deleted": None,
        "edited": dataclasses.replace(pair.store.held, version="x"),
        "cleared": dataclasses.replace(pair.store.held, version="x", holder=""),
    }[lost]
    await keeps(pair.a)

    assert is_good(pair.a)
    assert pair.store.held is not None
    assert pair.store.held.holder == "a"


async def test_giving_back_what_is_anothers_takes_nothing_from_it() -> None:
    pair = Pair()
    assert await takes(pair.a)
    assert not await takes(pair.b)
    pair.clock.now += 15
    assert await takes(pair.b)
    await pair.a.release()

    assert pair.store.held is not None
    assert pair.store.held.holder == "b"


async def test_without_a_lease_all_lead() -> None:
    alone = Leadership(None, "a", SETTINGS)
    await alone.take()
    await alone.release()

    assert alone.leads
    assert is_good(alone)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20)), max_size=40))
def test_never_may_two_work(steps: list[tuple[str, float]]) -> None:
    async def run() -> None:
        pair = Pair()
        both = {"a": pair.a, "b": pair.b}
        for name, wait in steps:
            pair.clock.now += wait
            lead = both[name]
            try:
                await (lead.renew_once() if lead.leads else lead.try_once())
            except LeaseLostError:
                both[name] = Leadership(pair.store, name + "x", SETTINGS, pair.clock)
            assert not (is_good(both["a"]) and is_good(both["b"]))

    asyncio.run(run())


def test_a_renewal_that_leaves_no_second_try_is_refused() -> None:
    with pytest.raises(ValidationError, match="ARGUS_LEASE__RENEW"):
        LeaseSettings(duration=10, renew=6)
