"""Who is it?"""

from urllib.parse import quote

import msgspec
import pytest
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.registry import Key
from argus_ingest.authenticate import Authenticator
from argus_ingest.errors import (
    KeyExpiredError,
    ProblemError,
    RegistryIncompleteError,
    TenantSuspendedError,
    UnknownKeyError,
    WrongScopeError,
)
from argus_ingest.tenants import Directory

from tests.unit.ingest.helpers import NOW, PUBLIC_KEY, SERVER_KEY, document

ACME = document()


@pytest.fixture
def directory() -> Directory:
    directory = Directory()
    directory.update({ACME.id: ACME})
    return directory


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (bearer(SERVER_KEY), b""),
        ({b"authorization": b"bearer   " + SERVER_KEY.encode() + b" "}, b""),
        ({b"x-api-key": SERVER_KEY.encode()}, b""),
        ({b"x-api-key": PUBLIC_KEY.encode(), b"origin": b"https://example.com"}, b""),
        ({}, b"a=b&key=" + quote(PUBLIC_KEY).encode()),
    ],
)
def test_a_key_may_come_in_three_ways(
    directory: Directory, headers: dict[bytes, bytes], query: bytes
) -> None:
    access = Authenticator(directory).authenticate(headers, query, NOW)
    assert access.tenant.document is ACME


@pytest.mark.parametrize(
    ("headers", "query", "problem"),
    [
        ({}, b"", UnknownKeyError),
        ({}, b"key=", UnknownKeyError),
        (bearer(generate(KeyKind.SERVER)), b"", UnknownKeyError),
        ({b"authorization": b"Basic abc"}, b"", UnknownKeyError),
        ({b"authorization": b"Bearer \xff\xfe"}, b"", UnknownKeyError),
        ({}, b"key=" + SERVER_KEY.encode(), WrongScopeError),
        (bearer(SERVER_KEY) | {b"origin": b"https://example.com"}, b"", WrongScopeError),
    ],
)
def test_everything_else_is_refused(
    directory: Directory,
    headers: dict[bytes, bytes],
    query: bytes,
    problem: type[ProblemError],
) -> None:
    with pytest.raises(problem):
        Authenticator(directory).authenticate(headers, query, NOW)


def test_a_challenge_goes_with_401(directory: Directory) -> None:
    with pytest.raises(UnknownKeyError) as refused:
        Authenticator(directory).authenticate({}, b"", NOW)
    assert refused.value.headers == ((b"www-authenticate", b'Bearer realm="argus"'),)


def test_nobody_is_unknown_before_the_registry_is_complete() -> None:
    with pytest.raises(RegistryIncompleteError):
        Authenticator(Directory()).authenticate(bearer("x"), b"", NOW)


def test_a_suspended_tenant_is_forbidden(directory: Directory) -> None:
    directory.update({ACME.id: msgspec.structs.replace(ACME, suspended=True)})
    with pytest.raises(TenantSuspendedError):
        Authenticator(directory).authenticate(bearer(SERVER_KEY), b"", NOW)


def test_a_key_ends_at_its_expiry(directory: Directory) -> None:
    key = Key(hash_key(SERVER_KEY), "server", KeyKind.SERVER, NOW)
    directory.update({ACME.id: msgspec.structs.replace(ACME, keys=(key,))})
    authenticator = Authenticator(directory)
    authenticator.authenticate(bearer(SERVER_KEY), b"", NOW - 1)
    with pytest.raises(KeyExpiredError):
        authenticator.authenticate(bearer(SERVER_KEY), b"", NOW)


def test_a_key_that_was_rotated_out_is_unknown_once_its_grace_is_over(
    directory: Directory,
) -> None:
    before = Key(hash_key(SERVER_KEY), "server", KeyKind.SERVER, until=NOW)
    directory.update({ACME.id: msgspec.structs.replace(ACME, keys=(before,))})
    authenticator = Authenticator(directory)
    authenticator.authenticate(bearer(SERVER_KEY), b"", NOW - 1)
    with pytest.raises(UnknownKeyError) as refused:
        authenticator.authenticate(bearer(SERVER_KEY), b"", NOW)
    with pytest.raises(UnknownKeyError) as stranger:
        authenticator.authenticate(bearer(generate(KeyKind.SERVER)), b"", NOW)

    assert str(refused.value) == str(stranger.value)
    assert refused.value.headers == stranger.value.headers


def test_a_key_that_is_over_says_nothing_of_its_tenant(directory: Directory) -> None:
    over = Key(hash_key(SERVER_KEY), "server", KeyKind.SERVER, expires=NOW - 2, until=NOW - 1)
    changed = msgspec.structs.replace(ACME, keys=(over,), suspended=True)
    directory.update({ACME.id: changed})
    with pytest.raises(UnknownKeyError):
        Authenticator(directory).authenticate(bearer(SERVER_KEY), b"", NOW)


def test_a_key_that_left_the_registry_is_unknown_at_once(directory: Directory) -> None:
    authenticator = Authenticator(directory)
    authenticator.authenticate(bearer(SERVER_KEY), b"", NOW)
    directory.update({ACME.id: msgspec.structs.replace(ACME, keys=())})
    with pytest.raises(UnknownKeyError):
        authenticator.authenticate(bearer(SERVER_KEY), b"", NOW)


def test_an_unchanged_tenant_is_kept_as_it_is(directory: Directory) -> None:
    before = directory.tenants[ACME.id]
    directory.update({ACME.id: msgspec.structs.replace(ACME)})
    assert directory.tenants[ACME.id] is before


def test_only_public_keys_are_charged_by_address_unless_the_tier_says_so() -> None:
    directory = Directory()
    directory.update({ACME.id: ACME})
    assert directory.accesses[hash_key(PUBLIC_KEY)].by_address
    assert not directory.accesses[hash_key(SERVER_KEY)].by_address
    limits = msgspec.structs.replace(ACME.limits, server_keys_by_ip=True)
    directory.update({ACME.id: msgspec.structs.replace(ACME, limits=limits)})
    assert directory.accesses[hash_key(SERVER_KEY)].by_address
