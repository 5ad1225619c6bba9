"""The client's address."""

from ipaddress import ip_network

import pytest
from argus_ingest.address import UNKNOWN, AddressResolver
from hypothesis import given
from hypothesis import strategies as st

PROXIES = AddressResolver([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
OPEN = AddressResolver([])


def forwarded(*lines: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-forwarded-for", line.encode()) for line in lines)]


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, 10.2.3.4",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6", "198.51.100.1", "10.2.3.4"), "198.51.100.1"),
        ("10.0.0.1", ("10.7.7.7, 10.2.3.4",), "10.7.7.7"),
        ("10.0.0.1", ("198.51.100.1, nonsense, 10.2.3.4",), "10.2.3.4"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1:4711",), "198.51.100.1"),
        ("10.0.0.1", ("[2001:db8:1:2:3:4:5:6]:4711",), "2001:db8:1:2::/64"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("fd00::1", ("2001:db8::1",), "2001:db8::/64"),
        ("2001:db8::1", (), "2001:db8::/64"),
    ],
)
def test_the_address_is_the_last_that_no_declared_proxy_vouches_for(
    peer: str, lines: tuple[str, ...], expected: str
) -> None:
    assert PROXIES.resolve((peer, 4711), forwarded(*lines)) == expected


def test_without_declared_proxies_the_header_is_ignored() -> None:
    assert OPEN.resolve(("10.0.0.1", 1), forwarded("1.2.3.4")) == "10.0.0.1"


def test_a_transport_without_addresses_is_one_client() -> None:
    assert PROXIES.resolve(None, forwarded("1.2.3.4")) == UNKNOWN


def test_what_is_too_long_for_an_address_is_neither_one_nor_remembered() -> None:
    resolver = AddressResolver([ip_network("10.0.0.0/8")])
    for number in range(3):
        padded = f"198.51.100.1{' ' * 10_000}{number}"
        assert resolver.resolve(("10.0.0.1", 1), forwarded(padded)) == "10.0.0.1"
    assert resolver._hop.cache_info().currsize == 0


@given(st.binary(max_size=300))
def test_no_header_breaks_it_or_becomes_a_name(value: bytes) -> None:
    address = PROXIES.resolve(("10.0.0.1", 1), [(b"x-forwarded-for", value)])
    ip_network(address)
