"""The client's address: what limits are charged to, so it must not be the client's to choose.

It is the peer's, unless the peer is a declared proxy: then X-Forwarded-For is read from the right,
past every declared proxy, to the first address that none of them vouches to be a proxy.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Peer = tuple[str, int]

UNKNOWN: Final = "unknown"
"""Where the transport has no peer address, as a Unix socket has not."""

_IPV6_CLIENT_PREFIX: Final = 64
"""A client owns at least a /64 (RFC 6177), so its addresses count as one."""
_REMEMBERED: Final = 65_536
_LONGEST: Final = 64
"""Most characters that an address with its port and spaces has; what is longer is not looked at."""


def _parse(text: str) -> Address | None:
    """An address with or without a port (`1.2.3.4:5`, `[::1]:5`); None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _bucket_name(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _IPV6_CLIENT_PREFIX), strict=False))


class AddressResolver:
    """Tells a request's client address; remembers a bounded number of answers."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """`trusted` are the networks of declared proxies."""
        self._trusted = tuple(trusted)
        self._peer = lru_cache(_REMEMBERED)(self._judge_peer)
        self._hop = lru_cache(_REMEMBERED)(self._judge_hop)

    def resolve(self, peer: Peer | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The address to charge: an IPv4 address, or an IPv6 client's /64.

        `peer` is the transport's host and port, `headers` the request's with lower-case names.
        """
        if peer is None:
            return UNKNOWN
        client, is_proxy = self._peer(peer[0])
        if not is_proxy:
            return client
        lines = [value for name, value in headers if name == b"x-forwarded-for"]
        for hop in reversed(b",".join(lines).decode("latin-1").split(",")):
            judged = self._hop(hop) if len(hop) <= _LONGEST else None
            if judged is None:
                return client
            client, is_proxy = judged
            if not is_proxy:
                return client
        return client

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _judge_peer(self, peer: str) -> tuple[str, bool]:
        address = _parse(peer)
        if address is None:
            return UNKNOWN, False
        return _bucket_name(address), self._is_trusted(address)

    def _judge_hop(self, hop: str) -> tuple[str, bool] | None:
        """None where the hop is no address: whoever reported it is then the last one known."""
        address = _parse(hop)
        if address is None:
            return None
        return _bucket_name(address), self._is_trusted(address)
