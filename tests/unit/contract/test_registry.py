"""Registry documents across releases: pods of two releases read the same topic."""

import msgspec
import pytest
from argus_contract import registry
from argus_contract.keys import KeyHash, KeyKind
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import (
    Bucket,
    EventSchema,
    Key,
    Limits,
    Pipeline,
    TenantDocument,
    Validation,
)

BEFORE = b"""
{"id":"n.shop.0123abcd","namespace":"n","name":"shop","revision":7,
 "limits":{"per_key":{"rate":1.0,"burst":2.0},"per_ip":{"rate":3.0,"burst":4.0},
           "server_keys_by_ip":false},
 "suspended":false,
 "keys":[{"hash":"abc","name":"web","kind":"public","expires":null}],
 "pipelines":[{"uid":"u","name":"web","topic":"argus.n.web.0123abcd",
   "dead_letter_topic":"argus.n.web.0123abcd.dead","partitions":3,"schema":"t_n_shop_0123abcd",
   "table":"events_web","window":7689600,"dedupe_window":86400,"retention_bytes":1073741824,
   "retention_seconds":604800,"match":["page_*"]}]}
"""
"""As releases up to 0.2.0 publish it."""


class OldKey(msgspec.Struct, frozen=True):
    """A key as releases up to 0.2.0 read it."""

    hash: str
    name: str
    kind: KeyKind
    expires: int | None = None


class OldLimits(msgspec.Struct, frozen=True):
    """Limits as releases up to 0.2.0 read them."""

    per_key: Bucket
    per_ip: Bucket
    server_keys_by_ip: bool = False


class OldPipeline(msgspec.Struct, frozen=True):
    """What matters here of a pipeline as releases up to 0.2.0 read it."""

    uid: str
    match: tuple[str, ...] = ()


class OldDocument(msgspec.Struct, frozen=True):
    """What matters here of a document as releases up to 0.2.0 read it."""

    id: str
    keys: tuple[OldKey, ...]
    limits: OldLimits
    pipelines: tuple[OldPipeline, ...]


LIMITS = Limits(Bucket(1.0, 2.0), Bucket(3.0, 4.0))
PIPELINE = Pipeline(
    uid="u",
    name="web",
    topic=TopicName("argus.n.web.0123abcd"),
    dead_letter_topic=TopicName("argus.n.web.0123abcd.dead"),
    partitions=3,
    schema="t_n_shop_0123abcd",
    table="events_web",
    window=7_689_600,
    dedupe_window=86_400,
    retention_bytes=1 << 30,
    retention_seconds=604_800,
    match=("page_*",),
)
VALIDATION = Validation(False, (EventSchema("view", '{"type":"object"}'),))


def document(
    *keys: Key, limits: Limits = LIMITS, validation: Validation | None = None
) -> TenantDocument:
    pipeline = msgspec.structs.replace(PIPELINE, validation=validation)
    tenant = TenantId("n.shop.0123abcd")
    return TenantDocument(tenant, "n", "shop", 7, limits, keys=keys, pipelines=(pipeline,))


def limited() -> Limits:
    return msgspec.structs.replace(
        LIMITS, daily=5_000, monthly=10**12, concurrency=100_000, observe=True
    )


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


@pytest.mark.parametrize("validation", [None, VALIDATION])
def test_limits_and_schemas_are_read_as_they_were_written(validation: Validation | None) -> None:
    written = document(limits=limited(), validation=validation)

    assert registry.decode_document(registry.encode(written)) == written


def test_a_pod_of_an_older_release_reads_what_it_knows_of_limits_and_pipelines() -> None:
    written = document(limits=limited(), validation=VALIDATION)
    read = msgspec.json.decode(registry.encode(written), type=OldDocument)

    assert read.limits == OldLimits(LIMITS.per_key, LIMITS.per_ip)
    assert read.pipelines == (OldPipeline("u", ("page_*",)),)
