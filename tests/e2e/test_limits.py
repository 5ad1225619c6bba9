"""Rate limits as clients meet them: through the Service, by the address that they come from."""

from argus_cli.settings import Settings
from argus_contract import redis_keys
from argus_runtime.redis import connect

from tests.e2e.conftest import MakeTenant
from tests.e2e.tenants import new_address, page_view

BURST = 5


async def test_two_client_addresses_are_two_buckets(
    make_tenant: MakeTenant, settings: Settings
) -> None:
    tenant = make_tenant(
        apiKeys=[{"name": "web", "kind": "public"}],
        rateLimit={"perIP": {"rate": 1, "burst": BURST}},
    )
    first, second = new_address(), new_address()

    statuses = [tenant.post(page_view(), address=first).status_code for _ in range(BURST * 3)]
    other = tenant.post(page_view(), address=second)
    refused = tenant.post(page_view(), address=first)

    assert statuses[:BURST] == [202] * BURST
    assert statuses[-1] == 429
    assert other.status_code == 202
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"].startswith("application/problem+json")
    redis = connect(settings.require_redis())
    buckets = [redis_keys.ip_bucket(tenant.id, address) for address in (first, second)]
    assert await redis.exists(*buckets) == 2
    await redis.aclose()


async def test_an_address_is_that_of_the_peer_nearest_to_the_proxy(
    make_tenant: MakeTenant, settings: Settings
) -> None:
    tenant = make_tenant(
        apiKeys=[{"name": "web", "kind": "public"}],
        rateLimit={"perIP": {"rate": 1, "burst": BURST}},
    )
    real = new_address()

    answers = [
        tenant.post(page_view(), address=f"{new_address()}, {real}") for _ in range(BURST * 3)
    ]

    assert answers[-1].status_code == 429
