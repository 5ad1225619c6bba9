"""API keys: `argus_<public|server>_<secret>`.

A key in clear lives in the tenant's Secret and in the client; everywhere else is its SHA-256.
A fast hash is right here: the secret has 176 bits of entropy, so there is nothing to guess.
"""

import hashlib
import re
import secrets
from enum import StrEnum
from typing import Final, NewType

KeyHash = NewType("KeyHash", str)
"""Lower-case hex SHA-256 of a key."""

HASH_PREFIX: Final = 8
"""How many hex digits of a hash people are shown."""

_SECRET_BYTES: Final = 22
_SHAPE: Final = re.compile(r"argus_(public|server)_[A-Za-z0-9_-]{22,64}")


class KeyKind(StrEnum):
    """Where a key may be used: `public` ones stand in browsers, `server` ones are secret."""

    PUBLIC = "public"
    SERVER = "server"


def generate(kind: KeyKind) -> str:
    """A new key of this kind, from the operating system's random source."""
    return f"argus_{kind}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def is_well_formed(key: str) -> bool:
    """Whether `key` has the shape that `generate` gives; says nothing of its being known."""
    return _SHAPE.fullmatch(key) is not None


def hash_key(key: str) -> KeyHash:
    """The hash under which a key is registered."""
    return KeyHash(hashlib.sha256(key.encode()).hexdigest())


def kind_of(key: str) -> KeyKind:
    """The kind that a well-formed key carries; raises ValueError for another string."""
    match = _SHAPE.fullmatch(key)
    if match is None:
        raise ValueError("not an ARGUS key")
    return KeyKind(match[1])
