"""The request's body: the right kind, in time, no larger than allowed, and inflated.

Bytes are counted against the budget as they come, not as they are announced, and the count stays
with the request until it is answered (`Loan`).
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from argus_contract.sizes import KIB, MIB

from argus_ingest.budget import REQUEST, Account, Budget
from argus_ingest.deadlines import Deadlines
from argus_ingest.errors import (
    BodyTooLargeError,
    SlowBodyError,
    UnsupportedEncodingError,
    UnsupportedMediaTypeError,
)
from argus_ingest.exchange import ClientGoneError, Exchange
from argus_ingest.inflate import ENCODINGS, InflateError, TooLargeError, inflate
from argus_ingest.settings import LimitSettings

JSON: Final = b"application/json"
NDJSON: Final = b"application/x-ndjson"
BEACON: Final = b"text/plain"
"""What a browser may send to another origin without asking first; the body is JSON all the same."""
MEDIA_TYPES: Final = (JSON, NDJSON, BEACON)

_INLINE: Final = 16 * KIB
_INLINE_OUTPUT: Final = 256 * KIB
"""Bodies up to these sizes are inflated on the loop: a thread costs more than they do."""
_SMALL: Final = 64 * KIB
_LINGER: Final = 2.0
_LINGER_BYTES: Final = 32 * MIB
"""Seconds and bytes for which an answered client may go on sending before the connection ends."""
_THREADS: Final = 2
"""Larger ones inflated at once; what they give is counted only when it is there."""


class UnreadableBodyError(Exception):
    """The body does not inflate; `body` is what was sent."""

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class Loan:
    """What one request holds of the budget, and its place among those of its tenant that are in
    work; a context manager that gives both back."""

    __slots__ = ("_account", "_budget", "_held")

    def __init__(self, budget: Budget, account: Account) -> None:
        """Takes what any request needs; raises BusyError where there is not even that."""
        budget.take(account, REQUEST)
        self._budget = budget
        self._account = account
        self._held = REQUEST
        account.requests += 1

    def take(self, size: int) -> None:
        """Raises BusyError where the tenant would hold too much."""
        self._budget.take(self._account, size)
        self._held += size

    def __enter__(self) -> "Loan":
        return self

    def __exit__(self, *_: object) -> None:
        self._account.requests -= 1
        self._budget.give(self._account, self._held)


class BodyReader:
    """Reads bodies within the limits."""

    def __init__(self, limits: LimitSettings, deadlines: Deadlines) -> None:
        """`deadlines` bound the time of a whole body."""
        self._limits = limits
        self._deadlines = deadlines
        self._threads = asyncio.Semaphore(_THREADS)

    def take(self, exchange: Exchange, loan: Loan) -> tuple[bytes, bytes] | None:
        """The media type and the body where all of it is there as it is, and nobody has to wait;
        else None, and `read` gives them. Raises what `read` raises.
        """
        media = _media_type(exchange.headers)
        if _encoding(exchange.headers) is not None:
            return None
        self._judge_announced(exchange.headers)
        body = exchange.take_whole()
        if body is None:
            return None
        if len(body) > self._limits.body_bytes:
            raise self._too_large()
        loan.take(len(body))
        return media, body

    async def read(self, exchange: Exchange, loan: Loan) -> tuple[bytes, bytes]:
        """The media type and the inflated body.

        Raises the 408, 413, 415 and 503 problems, ClientGoneError, and UnreadableBodyError.
        """
        media = _media_type(exchange.headers)
        encoding = _encoding(exchange.headers)
        self._judge_announced(exchange.headers)
        body = await self._collect(exchange, loan)
        if encoding is None:
            return media, body
        return media, await self._inflate(body, encoding, loan)

    def _judge_announced(self, headers: Mapping[bytes, bytes]) -> None:
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            raise self._too_large()

    def _too_large(self) -> BodyTooLargeError:
        limit = self._limits.body_bytes
        return BodyTooLargeError(
            f"The body has more than {limit} bytes as sent. Send fewer events at once.",
            members={"limit": limit},
        )

    async def _collect(self, exchange: Exchange, loan: Loan) -> bytes:
        body, more = bytearray(), True
        try:
            with self._deadlines.wait():
                while more and len(body) <= self._limits.body_bytes:
                    piece, more = await exchange.read()
                    loan.take(len(piece))
                    body += piece
        except TimeoutError:
            raise SlowBodyError(
                f"The body did not arrive within {self._deadlines.timeout:g} s.", retry_after=1.0
            ) from None

        if len(body) > self._limits.body_bytes:
            raise self._too_large()
        return bytes(body)

    async def _inflate(self, body: bytes, encoding: str, loan: Loan) -> bytes:
        limit = self._limits.inflated_bytes
        try:
            inflated = _inflate_inline(body, encoding, limit)
            if inflated is None:
                async with self._threads:
                    inflated = await asyncio.to_thread(inflate, body, encoding, limit)
        except TooLargeError:
            raise BodyTooLargeError(
                f"The body inflates to more than {limit} bytes.", members={"limit": limit}
            ) from None
        except InflateError as error:
            raise UnreadableBodyError(f"the body is not {encoding}: {error}", body) from error
        loan.take(len(inflated))
        return inflated


def is_small(headers: Mapping[bytes, bytes]) -> bool:
    """Whether an unread body is so small that the server had better read it than hang up."""
    length = headers.get(b"content-length")
    chunked = b"transfer-encoding" in headers
    return not chunked and (length is None or int(length) <= _SMALL)


async def discard(exchange: Exchange) -> None:
    """Drops what the client still sends, for a moment.

    Closing a connection with unread data resets it, and a reset may overtake the answer.
    """
    dropped, more = 0, True
    try:
        async with asyncio.timeout(_LINGER):
            while more and dropped < _LINGER_BYTES:
                piece, more = await exchange.read()
                dropped += len(piece)
    except (ClientGoneError, TimeoutError):
        return


def _inflate_inline(body: bytes, encoding: str, limit: int) -> bytes | None:
    """What a small body inflates to, None where it would keep the loop too long."""
    if len(body) > _INLINE:
        return None
    try:
        return inflate(body, encoding, min(_INLINE_OUTPUT, limit))
    except TooLargeError:
        return None


def _media_type(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"content-type", JSON)
    if given == JSON:
        return JSON
    media = given.partition(b";")[0].strip().lower()
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            "Content-Type must be application/json, application/x-ndjson or text/plain.",
            headers=((b"accept", b", ".join(MEDIA_TYPES)),),
        )
    return media


def _encoding(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"content-encoding")
    if given is None:
        return None
    encoding = given.decode("latin-1").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ENCODINGS:
        raise UnsupportedEncodingError(
            "Content-Encoding must be gzip, deflate, br or zstd, and only one of them.",
            headers=((b"accept-encoding", b"gzip, deflate, br, zstd"),),
        )
    return encoding
