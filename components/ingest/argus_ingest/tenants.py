"""The registry's documents, compiled for the hot path: one object a tenant, one entry a key."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from argus_contract import redis_keys
from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Key, TenantDocument
from argus_contract.routing import Router

from argus_ingest.buckets import Check
from argus_ingest.budget import Account
from argus_ingest.errors import Header

ADDRESS_POLICY: Final = "ip"
KEY_POLICY: Final = "key"


def _policy(name: str, limit: Bucket) -> str:
    """One item of RateLimit-Policy: the bucket's size, and the seconds it takes to fill."""
    window = max(1, ceil(limit.burst / limit.rate)) if limit.rate else 1
    return f'"{name}";q={int(limit.burst)};w={window}'


class Tenant:
    """A tenant's document with what is derived from it once, and what it holds of the process."""

    __slots__ = ("account", "display", "document", "key_only_policy", "policy", "router")

    def __init__(self, document: TenantDocument, account: Account) -> None:
        self.document = document
        self.account = account
        self.display = document.display
        self.router = Router(document.pipelines)
        key = _policy(KEY_POLICY, document.limits.per_key)
        address = _policy(ADDRESS_POLICY, document.limits.per_ip)
        self.key_only_policy: Header = (b"ratelimit-policy", key.encode())
        self.policy: Header = (b"ratelimit-policy", f"{key}, {address}".encode())


@dataclass(frozen=True, slots=True)
class Access:
    """What a known key opens."""

    tenant: Tenant
    key: Key
    bucket: str
    """Name of the key's token bucket."""
    by_address: bool
    """Whether its requests are charged to the client's address too."""

    def check(self, address: str, cost: int) -> Check:
        """What a request of this key from this address wants of the buckets."""
        document = self.tenant.document
        return Check(
            document.id,
            redis_keys.ip_bucket(document.id, address) if self.by_address else None,
            document.limits.per_ip,
            self.bucket,
            document.limits.per_key,
            cost,
        )

    @property
    def policy(self) -> Header:
        """The RateLimit-Policy of its answers."""
        return self.tenant.policy if self.by_address else self.tenant.key_only_policy


def _access(tenant: Tenant, key: Key) -> Access:
    document = tenant.document
    return Access(
        tenant,
        key,
        redis_keys.key_bucket(document.id, key.hash),
        key.kind is KeyKind.PUBLIC or document.limits.server_keys_by_ip,
    )


class Directory:
    """All tenants by id and all accesses by key hash; replaced whole with each snapshot."""

    def __init__(self) -> None:
        self.complete = False
        self.tenants: Mapping[TenantId, Tenant] = {}
        self.accesses: Mapping[KeyHash, Access] = {}

    def update(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        """Takes a complete snapshot; tenants whose document is unchanged are kept as they are."""
        tenants = {}
        for tenant_id, document in documents.items():
            known = self.tenants.get(tenant_id)
            if known is None:
                known = Tenant(document, Account())
            elif known.document != document:
                known = Tenant(document, known.account)
            tenants[tenant_id] = known
        self.tenants = tenants
        self.accesses = {
            key.hash: _access(tenant, key)
            for tenant in tenants.values()
            for key in tenant.document.keys
        }
        self.complete = True
