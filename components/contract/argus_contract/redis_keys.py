"""Redis keys: a tenant's id is the hash tag, so one script may touch any of its keys at once."""

from typing import Final

from argus_contract.keys import KeyHash
from argus_contract.names import TenantId

LIVE_WINDOW_SECONDS: Final = 3_600
"""How long a second of receipt is counted live."""


def ip_bucket(tenant: TenantId, address: str) -> str:
    """Token bucket of one client address."""
    return f"{{{tenant}}}:ip:{address}"


def key_bucket(tenant: TenantId, key: KeyHash) -> str:
    """Token bucket of one API key."""
    return f"{{{tenant}}}:key:{key}"


def usage(tenant: TenantId) -> str:
    """String: how many events a tenant sent in this day and in this month."""
    return f"{{{tenant}}}:usage"


def used(tenant: TenantId) -> str:
    """Hash of key hash to the minute since the epoch in which that API key was last used."""
    return f"{{{tenant}}}:used"


def live(tenant: TenantId, pipeline: str, second: int) -> str:
    """Hash of event name to count, for one second of receipt since the epoch."""
    return f"{{{tenant}}}:live:{pipeline}:{second}"


def fence(tenant: TenantId, topic: str, partition: int) -> str:
    """The next source offset whose deltas the live counters have not seen."""
    return f"{{{tenant}}}:fence:{topic}:{partition}"
