"""Registry documents across releases: pods of two releases read the same topic."""

import msgspec
import pytest
from argus_contract import registry
from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Key, Limits, TenantDocument

BEFORE = b"""
{"id":"n.shop.0123abcd","namespace":"n","name":"shop","revision":7,
 "limits":{"per_key":{"rate":1.0,"burst":2.0},"per_ip":{"rate":3.0,"burst":4.0},
           "server_keys_by_ip":false},
 "suspended":false,
 "keys":[{"hash":"abc","name":"web","kind":"public","expires":null}],
 "pipelines":[]}
"""
"""As releases up to 0.2.0 publish it."""


class OldKey(msgspec.Struct, frozen=True):
    """A key as releases up to 0.2.0 read it."""

    hash: str
    name: str
    kind: KeyKind
    expires: int | None = None


class OldDocument(msgspec.Struct, frozen=True):
    """What matters here of a document as releases up to 0.2.0 read it."""

    id: str
    keys: tuple[OldKey, ...]


def document(*keys: Key) -> TenantDocument:
    limits = Limits(Bucket(1.0, 2.0), Bucket(3.0, 4.0))
    return TenantDocument(TenantId("n.shop.0123abcd"), "n", "shop", 7, limits, keys=keys)


def test_a_document_of_an_older_release_says_the_same() -> None:
    """Else an upgrade would publish every tenant anew."""
    current = Key(KeyHash("abc"), "web", KeyKind.PUBLIC)

    assert registry.decode_document(BEFORE) == document(current)


@pytest.mark.parametrize("until", [None, 1_800_000_000_000_000])
def test_a_document_is_read_as_it_was_written(until: int | None) -> None:
    written = document(Key(KeyHash("abc"), "web", KeyKind.PUBLIC, until=until))

    assert registry.decode_document(registry.encode(written)) == written


def test_a_pod_of_an_older_release_reads_a_key_in_its_grace() -> None:
    written = document(Key(KeyHash("abc"), "web", KeyKind.PUBLIC, until=1))
    read = msgspec.json.decode(registry.encode(written), type=OldDocument)

    assert read.keys == (OldKey("abc", "web", KeyKind.PUBLIC),)
