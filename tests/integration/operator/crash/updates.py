"""A row for each field of a spec that may change: it alone is changed, and what of it is seen."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from argus_contract.registry import Bucket, Validation
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.integration.operator.crash import sights
from tests.integration.operator.crash.scenarios import (
    Act,
    Scenario,
    both,
    delete_both,
    rotate,
)
from tests.integration.operator.crash.sights import Sight, kept, routed, serving, stored, told
from tests.integration.operator.stage import Stage
from tests.unit.operator.world import WEB

Spec = dict[str, Any]

PREFIX: Final = "update-"
KINDS: Final = {TENANTS: "tenant", PIPELINES: "pipeline"}
SITE: Final = {"name": "site", "kind": "public"}


def row(leaf: str, was: Spec, now: Spec, *seen: Sight, then: tuple[Act, ...] = ()) -> Scenario:
    """The field's spec from `was` to `now`, and what comes `then`; a sight for each act."""
    plural = TENANTS if leaf.startswith(KINDS[TENANTS]) else PIPELINES

    async def before(stage: Stage) -> None:
        await both()(stage)
        await apply(stage, plural, was)

    async def change(stage: Stage) -> None:
        await apply(stage, plural, now)

    return Scenario(f"{PREFIX}{leaf}", (before,), (change, *then), seen)


async def apply(stage: Stage, plural: str, spec: Spec) -> None:
    """The spec of the tenant, or of the pipeline that it names."""
    if plural == TENANTS:
        await stage.tenant(**spec)
        return
    fields = dict(spec)
    if "named" in fields:  # else of two from the same second either may be the first
        await stage.tick()
    await stage.pipeline(fields.pop("named", WEB), **fields)


def later(seconds: float) -> Act:
    """The operator's clock goes on."""

    async def act(stage: Stage) -> None:
        await stage.pass_time(seconds)

    return act


def policies(**policy: str) -> Act:
    """Tenant and pipeline with these deletion policies."""

    async def act(stage: Stage) -> None:
        await stage.tenant(deletionPolicy=policy["tenant"])
        await stage.pipeline(deletionPolicy=policy["pipeline"])

    return act


def dying(leaf: str, was: Act) -> Scenario:
    """The last of two deletion policies becomes Delete, and both objects are deleted."""
    acts = (policies(tenant="Delete", pipeline="Delete"), delete_both)
    return Scenario(f"{PREFIX}{leaf}", (was,), acts, (serving, sights.dropped))


def rates(
    key: tuple[int, int] = (7, 7_000), address: tuple[int, int] = (3, 9), **more: Any
) -> Spec:
    """Rate and burst of each bucket, and what else the limits have."""
    buckets = zip(("perKey", "perIP"), (key, address), strict=True)
    named = {name: {"rate": rate, "burst": burst} for name, (rate, burst) in buckets}
    return {"rateLimit": named | more}


def topic(partitions: int = 1, **retention: Any) -> Spec:
    """A small topic."""
    return {"topic": {"partitions": partitions, "retention": {"bytes": "64Mi"} | retention}}


def letters(**retention: Any) -> Spec:
    """A small dead letters' topic."""
    return {"deadLetter": {"retention": {"bytes": "16Mi"} | retention}}


def quota(**events: int) -> Spec:
    """A quota."""
    return {"rateLimit": {"quota": events}}


def schema(event: str = "click", mode: str = "enforce", **keywords: Any) -> Spec:
    """One event's JSON Schema."""
    return {"validation": {"mode": mode, "schemas": [{"event": event, "jsonSchema": keywords}]}}


def clicks(*match: str) -> Spec:
    """A pipeline beside the default one."""
    return {"named": "clicks", "match": list(match)}


def judged(of: Callable[[Validation], Any], wanted: object) -> Sight:
    """Serving, and pods know this of the default pipeline's schemas."""
    return routed(lambda found: found.validation and of(found.validation), wanted)


OF_TENANT = (
    row("tenant.displayName", {}, {"displayName": "The shop"}, serving),
    row(
        "tenant.tier",
        {},
        {"tier": "large"},
        told(lambda found: found.limits.per_key, Bucket(9_000, 90_000)),
    ),
    row(
        "tenant.rateLimit.perKey.rate",
        rates(),
        rates(key=(8, 7_000)),
        told(lambda found: found.limits.per_key, Bucket(8, 7_000)),
    ),
    row(
        "tenant.rateLimit.perKey.burst",
        rates(),
        rates(key=(7, 8_000)),
        told(lambda found: found.limits.per_key, Bucket(7, 8_000)),
    ),
    row(
        "tenant.rateLimit.perIP.rate",
        rates(),
        rates(address=(4, 9)),
        told(lambda found: found.limits.per_ip, Bucket(4, 9)),
    ),
    row(
        "tenant.rateLimit.perIP.burst",
        rates(),
        rates(address=(3, 8)),
        told(lambda found: found.limits.per_ip, Bucket(3, 8)),
    ),
    row(
        "tenant.rateLimit.quota.daily",
        quota(daily=6_000, monthly=90_000),
        quota(daily=7_000, monthly=90_000),
        told(lambda found: (found.limits.daily, found.limits.monthly), (7_000, 90_000)),
    ),
    row(
        "tenant.rateLimit.quota.monthly",
        quota(daily=6_000, monthly=90_000),
        quota(daily=6_000, monthly=80_000),
        told(lambda found: (found.limits.daily, found.limits.monthly), (6_000, 80_000)),
    ),
    row(
        "tenant.rateLimit.concurrency",
        {},
        {"rateLimit": {"concurrency": 7}},
        told(lambda found: found.limits.concurrency, 7),
    ),
    row(
        "tenant.rateLimit.mode",
        {},
        {"rateLimit": {"mode": "observe"}},
        told(lambda found: found.limits.observe, True),
    ),
    row(
        "tenant.apiKeys.name",
        {},
        {"apiKeys": [{"name": "other"}]},
        told(lambda found: [key.name for key in found.keys], ["other"]),
    ),
    row(
        "tenant.apiKeys.kind",
        {},
        {"apiKeys": [SITE]},
        told(lambda found: [key.kind for key in found.keys], ["public"]),
    ),
    row(
        "tenant.apiKeys.expiresAt",
        {"apiKeys": [SITE]},
        {"apiKeys": [SITE | {"expiresAt": "2100-01-01T00:00:00Z"}]},
        told(lambda found: [key.expires for key in found.keys], [4_102_444_800_000_000]),
    ),
    row(
        "tenant.rotation.every",
        {"rotation": {"gracePeriod": "1h"}},
        {"rotation": {"gracePeriod": "1h", "every": "3h"}},
        *(serving, sights.in_grace),
        then=(later(3 * 3_600 + 1),),
    ),
    row(
        "tenant.rotation.gracePeriod",
        {},
        {"rotation": {"gracePeriod": "1h"}},
        *(serving, sights.in_grace, sights.replaced),
        then=(rotate, later(3_601)),
    ),
    row(
        "tenant.suspended",
        {},
        {"suspended": True},
        *(sights.suspended, serving),
        then=(both(),),
    ),
    dying("tenant.deletionPolicy", policies(tenant="Retain", pipeline="Delete")),
)
OF_PIPELINE = (
    row(
        "pipeline.match",
        clicks("click"),
        clicks("click", "tap*"),
        routed(lambda found: found.match, ("click", "tap*"), "clicks"),
    ),
    row(
        "pipeline.topic.partitions",
        topic(),
        topic(3),
        sights.every(
            kept(lambda found: found.partitions, 3),
            routed(lambda found: found.partitions, 3),
            stored(lambda found: found.partitions, 3),
        ),
    ),
    row(
        "pipeline.topic.retention.hours",
        topic(),
        topic(hours=5),
        kept(lambda found: found.retention_seconds, 5 * 3_600),
    ),
    row(
        "pipeline.topic.retention.bytes",
        topic(),
        topic(bytes="96Mi"),
        sights.every(
            kept(lambda found: found.retention_bytes, 96 << 20),
            routed(lambda found: found.retention_bytes, 96 << 20),
        ),
    ),
    row(
        "pipeline.deadLetter.retention.hours",
        letters(),
        letters(hours=9),
        kept(lambda found: found.retention_seconds, 9 * 3_600, dead=True),
    ),
    row(
        "pipeline.deadLetter.retention.bytes",
        letters(),
        letters(bytes="32Mi"),
        kept(lambda found: found.retention_bytes, 32 << 20, dead=True),
    ),
    row(
        "pipeline.storage.chunkInterval",
        {},
        {"storage": {"chunkInterval": "2h"}},
        sights.every(
            stored(lambda found: found.chunk_interval, timedelta(hours=2)),
            routed(lambda found: found.window, 90 * 86_400 - 2 * 3_600),
        ),
    ),
    row(
        "pipeline.storage.retention",
        {},
        {"storage": {"retention": "10d"}},
        sights.every(
            stored(lambda found: found.retention, timedelta(days=10)),
            routed(lambda found: found.window, 9 * 86_400),
        ),
    ),
    row(
        "pipeline.dedupeWindow",
        {},
        {"dedupeWindow": "3h"},
        sights.every(
            stored(lambda found: found.dedupe_window, timedelta(hours=3)),
            routed(lambda found: found.dedupe_window, 3 * 3_600),
        ),
    ),
    row(
        "pipeline.validation.mode",
        schema(required=["page"]),
        schema(mode="observe", required=["page"]),
        judged(lambda found: found.enforce, False),
    ),
    row(
        "pipeline.validation.schemas.event",
        schema(required=["page"]),
        schema("tap", required=["page"]),
        judged(lambda found: [item.event for item in found.schemas], ["tap"]),
    ),
    row(
        "pipeline.validation.schemas.jsonSchema",
        schema(required=["page"]),
        schema(required=["place"]),
        judged(lambda found: [item.schema for item in found.schemas], ['{"required":["place"]}']),
    ),
    dying("pipeline.deletionPolicy", policies(tenant="Delete", pipeline="Retain")),
)
UPDATES = OF_TENANT + OF_PIPELINE
_THEIRS: Final = {"topic": {"external": {"name": "theirs", "deadLetterName": "theirs.dead"}}}
FIXED: Final[Mapping[str, Spec]] = {
    "pipeline.tenantRef.name": {"tenantRef": {"name": "another"}},
    "pipeline.topic.external.name": _THEIRS,
    "pipeline.topic.external.deadLetterName": _THEIRS,
}
"""Fields that no update may change, each with an update that the API server refuses."""


def leaf(scenario: Scenario) -> str:
    """The field that a row is named for, after its kind and without the `[]` of lists."""
    return scenario.name.removeprefix(PREFIX)
