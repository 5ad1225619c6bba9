"""Rate limits as clients meet them: through the Service, by the address that they come from."""

import asyncio
import time

import httpx
import pytest
from argus_cli.settings import Settings
from argus_contract import redis_keys
from argus_runtime.redis import connect

from tests.e2e.conftest import MakeTenant
from tests.e2e.tenants import Tenant, new_address, page_view

RATE = 1
BURST = 5


@pytest.fixture(scope="module")
def limited(make_tenant: MakeTenant) -> Tenant:
    """A tenant whose clients may send little."""
    return make_tenant(
        apiKeys=[{"name": "web", "kind": "public"}],
        rateLimit={"perIP": {"rate": RATE, "burst": BURST}},
    )


async def flood(tenant: Tenant, *addresses: str) -> list[httpx.Response]:
    """A request from each of these addresses, all at once."""

    def post(address: str) -> httpx.Response:
        return tenant.post(page_view(), address=address)

    return await asyncio.gather(*(asyncio.to_thread(post, address) for address in addresses))


def accepted(answers: list[httpx.Response]) -> int:
    """How many were let through; the others must be 429."""
    refused = [answer for answer in answers if answer.status_code != 202]
    assert {answer.status_code for answer in refused} <= {429}
    return len(answers) - len(refused)


async def test_two_client_addresses_are_two_buckets(limited: Tenant, settings: Settings) -> None:
    first, second = new_address(), new_address()
    started = time.monotonic()

    of_first = await flood(limited, *[first] * BURST * 4)
    of_second = await flood(limited, *[second] * BURST)

    refilled = RATE * (time.monotonic() - started)
    assert BURST <= accepted(of_first) <= BURST + refilled
    assert accepted(of_second) == BURST
    redis = connect(settings.require_redis())
    buckets = [redis_keys.ip_bucket(limited.id, address) for address in (first, second)]
    assert await redis.exists(*buckets) == 2
    await redis.aclose()


async def test_a_refusal_says_which_bucket_and_how_long(limited: Tenant) -> None:
    answers = await flood(limited, *[new_address()] * BURST * 4)

    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["bucket"] == "ip"


async def test_the_address_is_the_one_that_the_trusted_proxy_saw(limited: Tenant) -> None:
    real = new_address()
    started = time.monotonic()

    answers = await flood(limited, *(f"{new_address()}, {real}" for _ in range(BURST * 4)))

    assert accepted(answers) <= BURST + RATE * (time.monotonic() - started)
