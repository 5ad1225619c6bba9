"""Who is it? The API key, looked up by its hash in the registry's snapshot.

It is judged before the body is read, so a stranger costs neither memory nor inflating (ADR 0004).
Without a complete snapshot nobody is called unknown: clients take 401 as final and drop their data.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from argus_contract.keys import KeyKind, hash_key

from argus_ingest.errors import (
    KeyExpiredError,
    RegistryIncompleteError,
    TenantSuspendedError,
    UnknownKeyError,
    WrongScopeError,
)
from argus_ingest.tenants import Access, Directory

_BEARER: Final = b"bearer "
_REMEMBERED: Final = 10_000
_RETRY_AFTER: Final = 2.0
_UNKNOWN: Final = "No tenant has this API key."
_CHALLENGE: Final = ((b"www-authenticate", b'Bearer realm="argus"'),)


class Authenticator:
    """Turns the credentials of a request into an access, or says why not."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[str, Access] = {}
        self._known_of = directory.accesses

    def authenticate(self, headers: Mapping[bytes, bytes], query: bytes, now: int) -> Access:
        """The access of the key that the request shows; `now` in microseconds.

        Raises one of the 401, 403 and 503 problems.
        """
        if not self._directory.complete:
            raise RegistryIncompleteError(
                "The API keys have not been loaded yet.", retry_after=_RETRY_AFTER
            )
        presented, in_url = _credentials(headers, query)
        access = self._find(presented)
        if access.key.until is not None and access.key.until <= now:
            raise UnknownKeyError(_UNKNOWN, headers=_CHALLENGE)
        if access.tenant.document.suspended:
            raise TenantSuspendedError(f"Tenant {access.tenant.display} is suspended.")
        if access.key.expires is not None and access.key.expires <= now:
            raise KeyExpiredError(f"The API key {access.key.name!r} has expired.")
        if access.key.kind is KeyKind.SERVER and (in_url or b"origin" in headers):
            raise WrongScopeError(
                "This is a server key: it is secret and belongs neither in a URL nor in a "
                "browser. Use a public key there, and rotate this one."
            )
        return access

    def _find(self, presented: str) -> Access:
        """By the key in clear, which is hashed only when it is first seen; strangers are not
        remembered."""
        if self._known_of is not self._directory.accesses:
            self._known, self._known_of = {}, self._directory.accesses
        access = self._known.get(presented)
        if access is None:
            access = self._directory.accesses.get(hash_key(presented))
            if access is None:
                raise UnknownKeyError(_UNKNOWN, headers=_CHALLENGE)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[presented] = access
        return access


def _credentials(headers: Mapping[bytes, bytes], query: bytes) -> tuple[str, bool]:
    """The key as presented, and whether it came in the URL."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise UnknownKeyError("Authorization must be `Bearer <API key>`.", headers=_CHALLENGE)
        return authorization[len(_BEARER) :].strip().decode("latin-1"), False
    key = headers.get(b"x-api-key")
    if key is not None:
        return key.strip().decode("latin-1"), False
    if b"key=" in query:
        named = parse_qs(query.decode("latin-1")).get("key")
        if named:
            return named[-1], True
    raise UnknownKeyError(
        "No API key: send `Authorization: Bearer <key>` or `X-Api-Key: <key>`, or put a public key "
        "into `?key=`.",
        headers=_CHALLENGE,
    )
