"""A replica believes only what a marker confirms, and never goes back."""

import logging

import pytest
from argus_contract import registry
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Limits, Marker, TenantDocument
from argus_runtime.registry import Replica

LIMITS = Limits(per_key=Bucket(5000, 10000), per_ip=Bucket(50, 100))


def record(name: str, revision: int = 1) -> tuple[bytes, bytes]:
    document = TenantDocument(TenantId(name), "ns", name, revision, LIMITS)
    return name.encode(), registry.encode(document)


def marker(revision: int, tenants: int) -> tuple[bytes, bytes]:
    return registry.MARKER_KEY.encode(), registry.encode(Marker(revision, tenants))


def replica(*records: tuple[bytes | None, bytes | None]) -> Replica:
    made = Replica()
    for key, value in records:
        made.apply(key, value)
    return made


def test_documents_without_a_marker_are_incomplete() -> None:
    assert not replica(record("a")).complete


def test_a_marker_that_counts_what_is_here_completes_it() -> None:
    assert replica(record("a"), record("b"), marker(1, 2)).complete
    assert replica(marker(1, 0)).complete


def test_a_marker_that_counts_others_does_not() -> None:
    assert not replica(record("a"), marker(1, 2)).complete


def test_a_tombstone_removes_a_tenant() -> None:
    assert replica(record("a"), record("b"), (b"a", None), marker(2, 1)).complete


def test_an_older_revision_changes_nothing() -> None:
    made = replica(record("a", 5), record("a", 3), marker(5, 1), marker(4, 9))
    assert made.documents[TenantId("a")].revision == 5
    assert made.marker == Marker(5, 1)


@pytest.mark.parametrize(
    "foreign", [(None, b"{}"), (b"a", b"not json"), (b"other", record("a")[1]), (b"\xff", b"1")]
)
def test_records_that_are_not_ours_change_nothing(
    foreign: tuple[bytes | None, bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    assert replica(foreign, marker(1, 0)).complete
