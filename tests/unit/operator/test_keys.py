"""What the Secret must hold, by what it holds."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from argus_contract.keys import KeyHash, KeyKind, generate, hash_key
from argus_operator import keys
from argus_operator.errors import BusyError, RefusedError
from argus_operator.keys import SecretState
from argus_operator.models.common import Meta
from argus_operator.models.tenant import ApiKey

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
META = Meta(name="shop", namespace="n", uid="u-1", creation_timestamp=NOW)
SERVER, PUBLIC = ApiKey(name="api"), ApiKey(name="web", kind=KeyKind.PUBLIC)
OLD = generate(KeyKind.SERVER)
BORN = {"api": "2025-01-01T00:00:00Z"}


def secret(
    data: Mapping[str, str],
    owners: tuple[str, ...] = ("u-1",),
    managed: bool = True,
    deleting: bool = False,
    created: Mapping[str, str] = BORN,
) -> SecretState:
    return SecretState("7", deleting, managed, frozenset(owners), data, created)


def plan(
    wanted: list[ApiKey],
    observed: SecretState | None,
    registered: Mapping[str, KeyHash] | None = None,
) -> keys.KeyPlan:
    return keys.plan(META, wanted, observed, registered or {}, NOW)


def test_without_a_secret_all_are_generated() -> None:
    made = plan([SERVER, PUBLIC], None)

    assert made.write
    assert made.generated == ("api", "web")
    assert made.data["web"].startswith("argus_public_")
    assert set(made.created.values()) == {"2026-02-03T04:05:06Z"}


def test_what_is_as_wanted_is_not_written() -> None:
    made = plan([SERVER], secret({"api": OLD}))

    assert not made.write
    assert made.data == {"api": OLD}
    assert made.created == BORN


@pytest.mark.parametrize("broken", ["", "hunter2", generate(KeyKind.PUBLIC), OLD + "\n"])
def test_what_is_no_key_of_this_kind_is_generated_anew(broken: str) -> None:
    made = plan([SERVER], secret({"api": broken}), {"api": hash_key(OLD)})

    assert made.write
    assert (made.generated, made.lost) == (("api",), ("api",))


def test_a_key_that_was_never_registered_is_not_lost() -> None:
    assert plan([SERVER], secret({"api": ""})).lost == ()


def test_what_is_not_wanted_is_removed() -> None:
    made = plan([SERVER], secret({"api": OLD, "extra": "x"}))

    assert made.write
    assert made.removed == ("extra",)


@pytest.mark.parametrize(
    "drifted", [secret({"api": OLD}, owners=()), secret({"api": OLD}, managed=False)]
)
def test_owner_and_label_are_repaired_without_a_new_key(drifted: SecretState) -> None:
    made = plan([SERVER], drifted)

    assert made.write
    assert made.generated == ()


def test_a_foreign_secret_is_refused() -> None:
    with pytest.raises(RefusedError, match="rename or delete"):
        plan([SERVER], secret({"password": "x"}, owners=(), managed=False))


@pytest.mark.parametrize(
    "leaving", [secret({"api": OLD}, owners=("u-0",)), secret({"api": OLD}, deleting=True)]
)
def test_a_predecessors_secret_is_waited_for(leaving: SecretState) -> None:
    with pytest.raises(BusyError, match="earlier tenant"):
        plan([SERVER], leaving)


def test_registered_keys_carry_hash_kind_and_expiry() -> None:
    expiring = ApiKey(name="api", expires_at=datetime(1970, 1, 2, tzinfo=UTC))
    (key,) = keys.register([expiring], {"api": OLD})

    assert (key.hash, key.kind, key.expires) == (hash_key(OLD), KeyKind.SERVER, 86_400_000_000)


def test_secrets_never_show_in_representations() -> None:
    observed = secret({"api": OLD})

    assert OLD not in repr(observed)
    assert OLD not in repr(plan([SERVER], observed))
