"""Rate limits: a tier of the chart's values, with a tenant's overrides. Pure."""

from collections.abc import Mapping

from argus_contract.registry import Bucket, Limits

from argus_operator.errors import RefusedError
from argus_operator.models.common import Mode
from argus_operator.models.tenant import AddressBucket, KeyBucket, Quota, RateLimit, TenantSpec
from argus_operator.settings import Tier


def resolve(spec: TenantSpec, tiers: Mapping[str, Tier]) -> Limits:
    """The limits that ingest applies; raises RefusedError for a tier that nobody defined."""
    tier = tiers.get(spec.tier)
    if tier is None:
        known = ", ".join(sorted(tiers)) or "none"
        raise RefusedError(
            "UnknownTier",
            f"spec.tier {spec.tier!r} is not defined; the chart's values define: {known}",
        )
    overrides = spec.rate_limit or RateLimit()
    quota = overrides.quota or Quota()
    return Limits(
        per_key=_bucket(overrides.per_key or tier.per_key),
        per_ip=_bucket(overrides.per_ip or tier.per_ip),
        server_keys_by_ip=tier.limit_server_keys_by_ip,
        daily=_events(quota.daily, tier.quota.daily),
        monthly=_events(quota.monthly, tier.quota.monthly),
        concurrency=overrides.concurrency or tier.concurrency,
        observe=(overrides.mode or tier.mode) is Mode.OBSERVE,
    )


def _events(override: int | None, of_tier: int | None) -> int | None:
    """A quota in events; 0, of the tenant or its tier, is none."""
    return (of_tier if override is None else override) or None


def _bucket(bucket: KeyBucket | AddressBucket) -> Bucket:
    return Bucket(rate=float(bucket.rate), burst=float(bucket.burst))
