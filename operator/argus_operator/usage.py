"""What tenants used of their quotas and when their keys were last used, as a status shows it. Pure.

Redis has both: ingest counts there while it judges requests. What is shown is coarse, in steps of
five percent and in whole hours, so that a status is written now and then and not each round.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from argus_contract import quotas
from argus_contract.keys import HASH_PREFIX, KeyHash
from argus_contract.names import TenantId
from argus_contract.quotas import Usage
from argus_contract.registry import Limits
from argus_contract.times import from_micros
from pydantic import ValidationError

from argus_operator.models import units
from argus_operator.models.tenant import KeyStatus, QuotaStatus, QuotaUse, TenantStatus

_STEP: Final = 5
"""Of the percentages that are shown."""
_HOUR: Final = 60
"""Minutes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What Redis held at one moment, `now` by its own clock in microseconds since the epoch."""

    now: int
    usage: Mapping[TenantId, Usage]
    """Of tenants with a quota, those of which anything is kept."""
    used: Mapping[TenantId, Mapping[KeyHash, int]]
    """The minute since the epoch in which each key was last used."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a tenant's status shows; keys by the prefix of their hash, in whole hours."""

    quota: QuotaStatus | None
    last_used: Mapping[str, datetime]


def has_quota(limits: Limits) -> bool:
    """Whether anything is to be counted of a tenant."""
    return limits.daily is not None or limits.monthly is not None


def fell(before: Usage, now: Usage) -> bool:
    """Whether some of what was counted is gone: within its day or month a count only grows."""
    daily = (now.day, now.daily) < (before.day, before.daily)
    return daily or (now.month, now.monthly) < (before.month, before.monthly)


def use(reading: Reading, tenant: TenantId, limits: Limits) -> Use:
    """A tenant's use as Redis has it; of what Redis does not have, nothing was used."""
    counted = reading.usage.get(tenant, Usage.none(reading.now)).at(reading.now)
    minutes = reading.used.get(tenant, {})
    last_used = {hash_[:HASH_PREFIX]: _hour(minute) for hash_, minute in minutes.items()}
    return Use(_quota(counted, limits), last_used)


def _quota(counted: Usage, limits: Limits) -> QuotaStatus | None:
    if not has_quota(limits):
        return None
    return QuotaStatus(
        daily=_spent(counted.daily, limits.daily, quotas.day_ends(counted.day)),
        monthly=_spent(counted.monthly, limits.monthly, quotas.month_ends(counted.month)),
    )


def _spent(used: int, limit: int | None, ends: int) -> QuotaUse | None:
    if limit is None:
        return None
    percent = min(100 * used // limit // _STEP * _STEP, 100)
    return QuotaUse(limit=limit, used_percent=percent, resets_at=from_micros(ends))


def _hour(minute: int) -> datetime:
    return datetime.fromtimestamp(minute // _HOUR * _HOUR * 60, UTC)


def told(status: Mapping[str, Any]) -> Use:
    """What a tenant's status shows already; nothing of it where a hand has spoilt it."""
    shown = {"quota": status.get("quota"), "keys": status.get("keys") or ()}
    try:
        found = TenantStatus.model_validate(shown)
    except ValidationError:
        return Use(None, {})
    return Use(found.quota, dict(_times(found.keys)))


def _times(keys: Iterable[KeyStatus]) -> Iterable[tuple[str, datetime]]:
    for key in keys:
        for one in (key, key.previous):
            if one is not None and one.last_used is not None:
                yield one.hash_prefix, one.last_used


def merged(shown: Use, known: Use | None) -> Use:
    """What to show: what is known now, but no use of a key is forgotten that was shown before."""
    if known is None:
        return shown
    latest = dict(shown.last_used)
    for prefix, moment in known.last_used.items():
        latest[prefix] = max(moment, latest.get(prefix, moment))
    return Use(known.quota, latest)


def dated(keys: Iterable[KeyStatus], use: Use) -> tuple[KeyStatus, ...]:
    """The keys with when each was last used."""
    return tuple(_dated(key, use.last_used) for key in keys)


def _dated(key: KeyStatus, last_used: Mapping[str, datetime]) -> KeyStatus:
    previous = key.previous
    if previous is not None:
        moment = last_used.get(previous.hash_prefix)
        previous = previous.model_copy(update={"last_used": moment})
    found = {"last_used": last_used.get(key.hash_prefix), "previous": previous}
    return key.model_copy(update=found)


def exceeded(quota: QuotaStatus | None) -> str | None:
    """Of which quota nothing is left, in words to act on; None where each has something left."""
    if quota is None:
        return None
    spans = {"daily": quota.daily, "monthly": quota.monthly}
    spent = {
        name: one for name, one in spans.items() if one is not None and one.used_percent >= 100
    }
    if not spent:
        return None
    name, longest = max(spent.items(), key=lambda item: item[1].resets_at)
    return (
        f"the {name} quota of {longest.limit:,} events is used up: requests are refused with 429 "
        f"quota-exceeded until {units.instant(longest.resets_at)}; to take more before that, raise "
        f"spec.rateLimit.quota.{name} or choose another tier"
    )
