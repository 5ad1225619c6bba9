"""The generator as a process, driven against the bare server, gently."""

import asyncio

import pytest

from bench import ceilings, driving
from bench.driving import cost, generating
from bench.load import Offer


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "WARM_S", 1.0)
    monkeypatch.setattr(driving, "MARGIN_S", 0.5)


def _offer(**changes: object) -> Offer:
    values: dict[str, object] = {"connections": 4, "rate": 100.0, "keys": ("k",)}
    return Offer(ports=(ceilings.BARE_PORT,), **(values | changes))  # type: ignore[arg-type]


async def test_a_server_is_charged_for_the_requests_of_the_window() -> None:
    with ceilings.bare() as pid:
        spent = await cost({"bare": (pid,)}, _offer(), 1.0)
    assert spent.requests == pytest.approx(100, rel=0.15)
    assert spent.rate == pytest.approx(100, rel=0.15)
    assert 0 <= spent.cpu["bare"] < 0.5


async def test_a_generator_that_fails_is_an_error() -> None:
    async with generating(_offer(seconds=0.1)) as generator:
        with pytest.raises(RuntimeError, match="ended with 1"):
            await generator.outcome()


async def test_a_generator_does_not_outlive_its_block() -> None:
    with ceilings.bare():
        async with generating(_offer(seconds=30.0)) as generator:
            working = asyncio.create_task(generator.outcome())
            await asyncio.sleep(0.5)
        with pytest.raises(RuntimeError, match="ended with -9"):
            await working
