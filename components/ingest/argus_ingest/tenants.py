"""The registry's documents, compiled for the hot path: one object a tenant, one entry a key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from argus_contract import redis_keys
from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Key, Limits, TenantDocument
from argus_contract.routing import Router

from argus_ingest.buckets import Check, Quota
from argus_ingest.budget import Account
from argus_ingest.errors import Header

ADDRESS_POLICY: Final = "ip"
KEY_POLICY: Final = "key"
DAY_POLICY: Final = "day"
MONTH_POLICY: Final = "month"
_BOUNDLESS: Final = 1 << 60


def _policy(name: str, limit: Bucket) -> str:
    """One item of RateLimit-Policy: the bucket's size, and the seconds it takes to fill."""
    window = max(1, ceil(limit.burst / limit.rate)) if limit.rate else 1
    return f'"{name}";q={int(limit.burst)};w={window}'


def _quota_policies(limits: Limits) -> list[str]:
    """Those of the quotas; no window is named of a month, which has no length of its own."""
    policies = []
    if limits.daily is not None:
        policies.append(f'"{DAY_POLICY}";q={limits.daily};w=86400')
    if limits.monthly is not None:
        policies.append(f'"{MONTH_POLICY}";q={limits.monthly}')
    return policies


def _quota(document: TenantDocument) -> Quota | None:
    limits = document.limits
    if limits.daily is None and limits.monthly is None:
        return None
    return Quota(redis_keys.usage(document.id), limits.daily or 0, limits.monthly or 0)


class Tenant:
    """A tenant's document with what is derived from it once, and what it holds of the process."""

    __slots__ = (
        "account",
        "concurrency",
        "display",
        "document",
        "key_only_policy",
        "observe",
        "policy",
        "quota",
        "router",
    )

    def __init__(self, document: TenantDocument, account: Account, replicas: int) -> None:
        """`replicas` processes share what it may have in work at one time."""
        limits = document.limits
        self.document = document
        self.account = account
        self.display = document.display
        self.router = Router(document.pipelines)
        self.observe = limits.observe
        """Whether what is above its limits passes and is only counted."""
        self.quota = _quota(document)
        self.concurrency = (
            _BOUNDLESS if limits.concurrency is None else max(1, -(-limits.concurrency // replicas))
        )
        """Requests that this process may have in work at one time."""
        key, address = _policy(KEY_POLICY, limits.per_key), _policy(ADDRESS_POLICY, limits.per_ip)
        quotas = _quota_policies(limits)
        self.key_only_policy: Header = (b"ratelimit-policy", ", ".join([key, *quotas]).encode())
        self.policy: Header = (b"ratelimit-policy", ", ".join([key, address, *quotas]).encode())


class Use:
    """When a key was last used; outlives the snapshots of the registry."""

    __slots__ = ("last", "told")

    def __init__(self) -> None:
        self.last = 0
        """Microseconds since the epoch; 0 for never."""
        self.told = 0
        """What of that has been written down."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a known key opens."""

    tenant: Tenant
    key: Key
    bucket: str
    """Name of the key's token bucket."""
    by_address: bool
    """Whether its requests are charged to the client's address too."""
    use: Use = field(default_factory=Use, compare=False)

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
            self.tenant.quota,
        )

    @property
    def policy(self) -> Header:
        """The RateLimit-Policy of its answers."""
        return self.tenant.policy if self.by_address else self.tenant.key_only_policy


def _access(tenant: Tenant, key: Key, known: Access | None) -> Access:
    document = tenant.document
    return Access(
        tenant,
        key,
        redis_keys.key_bucket(document.id, key.hash),
        key.kind is KeyKind.PUBLIC or document.limits.server_keys_by_ip,
        Use() if known is None else known.use,
    )


class Directory:
    """All tenants by id and all accesses by key hash; replaced whole with each snapshot."""

    def __init__(self, replicas: int = 1) -> None:
        """`replicas` processes share each tenant's concurrency."""
        self._replicas = replicas
        self.complete = False
        self.tenants: Mapping[TenantId, Tenant] = {}
        self.accesses: Mapping[KeyHash, Access] = {}

    def update(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        """Takes a complete snapshot; tenants whose document is unchanged are kept as they are."""
        tenants = {}
        for tenant_id, document in documents.items():
            known = self.tenants.get(tenant_id)
            if known is None:
                known = Tenant(document, Account(), self._replicas)
            elif known.document != document:
                known = Tenant(document, known.account, self._replicas)
            tenants[tenant_id] = known
        self.tenants = tenants
        accesses = self.accesses
        self.accesses = {
            key.hash: _access(tenant, key, accesses.get(key.hash))
            for tenant in tenants.values()
            for key in tenant.document.keys
        }
        self.complete = True
