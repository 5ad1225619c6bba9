"""Redis keys of one tenant, which one script may touch together."""

from argus_contract import redis_keys
from argus_contract.keys import KeyHash
from argus_contract.names import TenantId

TENANT = TenantId("n.shop.0123abcd")
KEYS = [
    redis_keys.ip_bucket(TENANT, "10.0.0.1"),
    redis_keys.key_bucket(TENANT, KeyHash("abc")),
    redis_keys.usage(TENANT),
    redis_keys.used(TENANT),
    redis_keys.live(TENANT, "web", 1_700_000_000),
    redis_keys.fence(TENANT, "argus.n.web.0123abcd", 0),
]


def test_every_key_has_the_tenant_as_its_hash_tag() -> None:
    """Else a cluster would refuse a script that touches two of them."""
    assert all(key.startswith(f"{{{TENANT}}}:") for key in KEYS)


def test_no_two_are_the_same() -> None:
    assert len(set(KEYS)) == len(KEYS)
