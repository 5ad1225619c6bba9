"""What is derived from a tenant's document once, and what outlives the document."""

import pytest
from argus_contract import redis_keys
from argus_contract.keys import KeyHash, hash_key
from argus_contract.registry import Limits, TenantDocument
from argus_ingest.buckets import Quota
from argus_ingest.tenants import Access, Directory

from tests.unit.ingest.helpers import PLENTY, PUBLIC_KEY, SERVER_KEY, document

SERVER = hash_key(SERVER_KEY)


def opened(given: TenantDocument, replicas: int = 1) -> Access:
    directory = Directory(replicas)
    directory.update({given.id: given})
    return directory.accesses[SERVER]


def limited(**changes: int | bool) -> TenantDocument:
    return document(limits=Limits(PLENTY, PLENTY, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("concurrency", "replicas", "share"), [(10, 1, 10), (10, 3, 4), (9, 3, 3), (1, 5, 1)]
)
def test_each_process_has_its_part_of_the_concurrency_and_one_request_at_least(
    concurrency: int, replicas: int, share: int
) -> None:
    assert opened(limited(concurrency=concurrency), replicas).tenant.concurrency == share


def test_without_concurrency_no_number_of_requests_is_too_large() -> None:
    assert opened(document()).tenant.concurrency > 10**9


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [({"daily": 5}, (5, 0)), ({"monthly": 7}, (0, 7)), ({"daily": 5, "monthly": 7}, (5, 7))],
)
def test_a_check_names_the_quota_that_its_tenant_has(
    changes: dict[str, int], numbers: tuple[int, int]
) -> None:
    given = limited(**changes)
    quota = Quota(redis_keys.usage(given.id), *numbers)
    assert opened(given).check("a", 3).quota == quota


def test_a_tenant_without_quotas_asks_for_none() -> None:
    assert opened(document()).check("a", 3).quota is None


def test_the_policy_names_quotas_after_the_buckets() -> None:
    given = limited(daily=5_000, monthly=90_000)
    directory = Directory()
    directory.update({given.id: given})
    tail = b'"day";q=5000;w=86400, "month";q=90000'
    key, address = b'"key";q=1000000;w=1', b'"ip";q=1000000;w=1'
    assert directory.accesses[SERVER].policy[1] == b", ".join([key, tail])
    public = directory.accesses[hash_key(PUBLIC_KEY)]
    assert public.policy[1] == b", ".join([key, address, tail])


def test_the_use_of_a_key_and_what_its_tenant_holds_outlive_a_snapshot() -> None:
    directory = Directory()
    first = document()
    directory.update({first.id: first})
    before = directory.accesses[SERVER]
    before.use.last = 42
    directory.update({first.id: document(revision=2)})
    after = directory.accesses[SERVER]
    assert after.use is before.use
    assert after.tenant is not before.tenant
    assert after.tenant.account is before.tenant.account


def test_a_key_that_was_away_begins_anew() -> None:
    directory = Directory()
    first = document()
    directory.update({first.id: first})
    directory.accesses[SERVER].use.last = 42
    directory.update({first.id: document(keys=())})
    assert KeyHash(SERVER) not in directory.accesses
    directory.update({first.id: first})
    assert directory.accesses[SERVER].use.last == 0
