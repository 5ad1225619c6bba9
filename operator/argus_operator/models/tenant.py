"""ArgusTenant, as crds/argustenants.yaml defines it."""

from datetime import datetime
from typing import Annotated, Final

from argus_contract.keys import KeyKind
from argus_contract.sizes import MAX_EVENTS
from pydantic import Field

from argus_operator.models.common import Condition, DeletionPolicy, Duration, Mode, Model, Name

KIND: Final = "ArgusTenant"
PLURAL: Final = "argustenants"

Rate = Annotated[int, Field(ge=1, le=1_000_000)]
Concurrency = Annotated[int, Field(ge=1, le=100_000)]
Events = Annotated[int, Field(ge=0, le=10**12)]


class KeyBucket(Model):
    """Events that one API key may send."""

    rate: Rate
    burst: Annotated[int, Field(ge=MAX_EVENTS, le=10_000_000)]


class AddressBucket(Model):
    """Requests that one client address may send."""

    rate: Rate
    burst: Annotated[int, Field(ge=1, le=10_000_000)]


class Quota(Model):
    """Events in a day and in a month of UTC; 0 for none, None for what the tier has."""

    daily: Events | None = None
    monthly: Events | None = None


class RateLimit(Model):
    """Overrides of a tier's limits; what is None stays the tier's."""

    per_key: KeyBucket | None = None
    per_ip: Annotated[AddressBucket | None, Field(alias="perIP")] = None
    mode: Mode | None = None
    concurrency: Concurrency | None = None
    quota: Quota | None = None


class ApiKey(Model):
    """A key to generate."""

    name: Name
    kind: KeyKind = KeyKind.SERVER
    expires_at: datetime | None = None


class Rotation(Model):
    """When keys are replaced by themselves, and for how long the old one goes on beside the new."""

    every: Duration | None = None
    grace_period: Duration = "24h"


class TenantSpec(Model):
    """What a team asks for."""

    display_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    tier: Name = "standard"
    rate_limit: RateLimit | None = None
    api_keys: Annotated[tuple[ApiKey, ...], Field(min_length=1, max_length=32)] = (
        ApiKey(name="default"),
    )
    rotation: Rotation = Rotation()
    suspended: bool = False
    database_login: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN


class PreviousKey(Model):
    """A key in its grace, without its secret."""

    id: str
    hash_prefix: str
    created: datetime
    valid_until: datetime
    last_used: datetime | None = None


class KeyStatus(Model):
    """A registered key, without its secret."""

    id: str | None = None
    """Absent only where a release before rotation wrote it."""
    name: str
    kind: str
    hash_prefix: str
    created: datetime
    expires: datetime | None = None
    rotates_at: datetime | None = None
    last_used: datetime | None = None
    previous: PreviousKey | None = None


class QuotaUse(Model):
    """How much of one quota is used up; `used_percent` in steps of five, 100 where it is spent."""

    limit: int
    used_percent: int
    resets_at: datetime


class QuotaStatus(Model):
    """How much of each quota is used up; None where there is none."""

    daily: QuotaUse | None = None
    monthly: QuotaUse | None = None


class TenantStatus(Model):
    """What was made of it."""

    id: str | None = None
    secret_name: str | None = None
    database_secret_name: str | None = None
    schema_: Annotated[str | None, Field(alias="schema")] = None
    role: str | None = None
    keys: tuple[KeyStatus, ...] = ()
    quota: QuotaStatus | None = None
    conditions: tuple[Condition, ...] = ()
