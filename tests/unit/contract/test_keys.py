"""API keys carry their kind and are told apart from other strings."""

import pytest
from argus_contract import keys
from argus_contract.keys import KeyKind


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_generated_key_is_well_formed_and_says_its_kind(kind: KeyKind) -> None:
    key = keys.generate(kind)
    assert keys.is_well_formed(key)
    assert keys.kind_of(key) is kind


def test_no_two_keys_are_alike() -> None:
    assert len({keys.generate(KeyKind.SERVER) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "argus_server_short", "argus_admin_" + "x" * 30, "x" * 40])
def test_other_strings_are_no_keys(text: str) -> None:
    assert not keys.is_well_formed(text)
    with pytest.raises(ValueError, match="not an ARGUS key"):
        keys.kind_of(text)


def test_the_hash_is_sha256_in_hex() -> None:
    assert keys.hash_key("abc").startswith("ba7816bf8f01cfea")
    assert len(keys.hash_key("abc")) == 64
