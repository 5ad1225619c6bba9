"""A tier and what a tenant overrides of it."""

import pytest
from argus_contract.registry import Bucket, Limits
from argus_operator import limits
from argus_operator.errors import RefusedError
from argus_operator.models.tenant import TenantSpec
from argus_operator.settings import Tier

TIERS = {
    "standard": Tier(),
    "gold": Tier.model_validate(
        {
            "perKey": {"rate": 9000, "burst": 9000},
            "perIP": {"rate": 500, "burst": 500},
            "limitServerKeysByIP": True,
        }
    ),
}


def spec(**fields: object) -> TenantSpec:
    return TenantSpec.model_validate(fields)


def test_the_standard_tier_is_the_missions() -> None:
    assert limits.resolve(spec(), TIERS) == Limits(
        per_key=Bucket(5_000, 10_000), per_ip=Bucket(50, 100), server_keys_by_ip=False
    )


def test_another_tier() -> None:
    resolved = limits.resolve(spec(tier="gold"), TIERS)

    assert resolved == Limits(Bucket(9_000, 9_000), Bucket(500, 500), server_keys_by_ip=True)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"perKey": {"rate": 1, "burst": 5000}}, (Bucket(1, 5_000), Bucket(50, 100))),
        ({"perIP": {"rate": 2, "burst": 3}}, (Bucket(5_000, 10_000), Bucket(2, 3))),
        ({}, (Bucket(5_000, 10_000), Bucket(50, 100))),
    ],
)
def test_an_override_replaces_only_its_bucket(
    override: dict[str, object], expected: tuple[Bucket, Bucket]
) -> None:
    resolved = limits.resolve(spec(rateLimit=override), TIERS)

    assert (resolved.per_key, resolved.per_ip) == expected


def test_an_unknown_tier_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match=r"'silver'.*gold, standard"):
        limits.resolve(spec(tier="silver"), TIERS)


FREE = Tier.model_validate(
    {"quota": {"daily": 10_000, "monthly": 0}, "concurrency": 7, "mode": "observe"}
)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({}, (10_000, None, 7, True)),
        ({"quota": {"daily": 0}}, (None, None, 7, True)),
        ({"quota": {"monthly": 50_000}}, (10_000, 50_000, 7, True)),
        ({"quota": {"daily": 6_000, "monthly": 60_000}}, (6_000, 60_000, 7, True)),
        ({"concurrency": 9}, (10_000, None, 9, True)),
        ({"mode": "enforce"}, (10_000, None, 7, False)),
    ],
)
def test_quotas_concurrency_and_mode_are_overridden_one_by_one(
    override: dict[str, object], expected: tuple[int | None, int | None, int, bool]
) -> None:
    found = limits.resolve(spec(tier="free", rateLimit=override), {"free": FREE})

    assert (found.daily, found.monthly, found.concurrency, found.observe) == expected


def test_a_tier_of_release_0_1_has_neither_quota_nor_concurrency() -> None:
    found = limits.resolve(spec(), TIERS)

    assert (found.daily, found.monthly, found.concurrency, found.observe) == (
        *(None, None, None),
        False,
    )
