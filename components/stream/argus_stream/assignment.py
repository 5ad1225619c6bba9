"""Which member reads which partition: rendezvous hashing, with no coordinator and no state.

Every member computes the same owner from the same list of members. A member that joins takes only
partitions that become its own, one that leaves gives only its own away (ADR 0003).
"""

from collections.abc import Collection
from hashlib import blake2b
from uuid import UUID

from argus_stream.sources import Source


def owner(source: Source, members: Collection[UUID]) -> UUID:
    """The member that reads this partition; raises ValueError where there is no member."""
    if not members:
        raise ValueError("no members")
    name = f"{source.topic}/{source.partition}".encode()
    return max(members, key=lambda member: (_weight(name, member), member))


def _weight(name: bytes, member: UUID) -> bytes:
    return blake2b(name, key=member.bytes, digest_size=8).digest()
