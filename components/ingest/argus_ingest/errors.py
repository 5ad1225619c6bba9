"""Everything a client can be refused for: one class a reason, each with its HTTP status.

    ProblemError
    ├── MalformedBodyError          400  malformed-body
    ├── UnknownKeyError             401  unknown-key
    ├── TenantSuspendedError        403  tenant-suspended
    ├── KeyExpiredError             403  key-expired
    ├── WrongScopeError             403  wrong-scope
    ├── NotFoundError               404  not-found
    ├── MethodNotAllowedError       405  method-not-allowed
    ├── SlowBodyError               408  slow-body
    ├── BodyTooLargeError           413  body-too-large
    ├── TooManyEventsError          413  too-many-events
    ├── AboveBurstError             413  above-burst
    ├── UnsupportedMediaTypeError   415  unsupported-media-type
    ├── UnsupportedEncodingError    415  unsupported-encoding
    ├── NothingAcceptedError        422  nothing-accepted
    ├── NoPipelineError             422  no-pipeline
    ├── RateLimitedError            429  rate-limited
    ├── QuotaExceededError          429  quota-exceeded
    ├── ConcurrencyExceededError    429  too-many-requests-in-flight
    ├── FloodedError                429  flooded
    ├── InternalError               500  internal-error
    ├── RegistryIncompleteError     503  registry-incomplete
    ├── BusyError                   503  busy
    ├── BacklogError                503  backlog
    └── LogUnavailableError         503  log-unavailable

Statuses are chosen by what well-behaved clients do with them: 4xx but 408 and 429 are final, 408,
429 and 503 are retried. So nothing that a wait can mend is ever a final 4xx.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

TYPE_PREFIX: Final = "urn:argus:problem:"

Header = tuple[bytes, bytes]


class ProblemError(Exception):
    """A refusal: becomes an RFC 9457 problem document (`answer.problem`)."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: Sequence[Header] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """`detail` is for people; `retry_after` in seconds; `members` extend the document."""
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.headers = headers
        self.members = members or {}


class MalformedBodyError(ProblemError):
    """The body is not JSON, not UTF-8 or does not inflate; it went to the dead letters."""

    status = 400
    slug = "malformed-body"
    title = "The body is not JSON"


class UnknownKeyError(ProblemError):
    """No API key, or one that no tenant has."""

    status = 401
    slug = "unknown-key"
    title = "Unknown API key"


class TenantSuspendedError(ProblemError):
    """The key's tenant is suspended."""

    status = 403
    slug = "tenant-suspended"
    title = "Tenant suspended"


class KeyExpiredError(ProblemError):
    """The key is past its expiry."""

    status = 403
    slug = "key-expired"
    title = "API key expired"


class WrongScopeError(ProblemError):
    """A secret server key where only public keys may be used."""

    status = 403
    slug = "wrong-scope"
    title = "Key not allowed here"


class NotFoundError(ProblemError):
    """No such path."""

    status = 404
    slug = "not-found"
    title = "Not found"


class MethodNotAllowedError(ProblemError):
    """The path does not know this method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"


class SlowBodyError(ProblemError):
    """The body did not arrive in time."""

    status = 408
    slug = "slow-body"
    title = "Body too slow"


class BodyTooLargeError(ProblemError):
    """More bytes than allowed, before or after inflating, or than a pipeline takes at once."""

    status = 413
    slug = "body-too-large"
    title = "Body too large"


class TooManyEventsError(ProblemError):
    """More events than one request may carry."""

    status = 413
    slug = "too-many-events"
    title = "Too many events"


class AboveBurstError(ProblemError):
    """The request costs more than its bucket can ever hold, so waiting would not help."""

    status = 413
    slug = "above-burst"
    title = "More events than the rate limit can ever admit at once"


class UnsupportedMediaTypeError(ProblemError):
    """A Content-Type that is none of ours."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported Content-Type"


class UnsupportedEncodingError(ProblemError):
    """A Content-Encoding that is none of ours."""

    status = 415
    slug = "unsupported-encoding"
    title = "Unsupported Content-Encoding"


class NothingAcceptedError(ProblemError):
    """JSON, but nothing in it was an event."""

    status = 422
    slug = "nothing-accepted"
    title = "Nothing in the body was an event"


class NoPipelineError(ProblemError):
    """An event that no pipeline of the tenant takes; nothing of the request was published."""

    status = 422
    slug = "no-pipeline"
    title = "No pipeline takes the event"


class RateLimitedError(ProblemError):
    """One of the tenant's token buckets refused."""

    status = 429
    slug = "rate-limited"
    title = "Rate limited"


class QuotaExceededError(ProblemError):
    """The request has more events than are left of the tenant's day or month."""

    status = 429
    slug = "quota-exceeded"
    title = "Quota exceeded"


class ConcurrencyExceededError(ProblemError):
    """The tenant has as many requests in work as it may have at one time."""

    status = 429
    slug = "too-many-requests-in-flight"
    title = "Too many requests in flight"


class FloodedError(ProblemError):
    """The address sends more than this process is willing to look at."""

    status = 429
    slug = "flooded"
    title = "Too many requests from this address"


class InternalError(ProblemError):
    """A defect of ours; the log has the traceback."""

    status = 500
    slug = "internal-error"
    title = "Internal error"


class RegistryIncompleteError(ProblemError):
    """The keys are not known yet, so none can be called unknown."""

    status = 503
    slug = "registry-incomplete"
    title = "Not ready"


class BusyError(ProblemError):
    """Too many bytes are in flight in this process."""

    status = 503
    slug = "busy"
    title = "Busy"


class BacklogError(ProblemError):
    """The pipeline's unread log nears its retention, or nobody knows whether it does."""

    status = 503
    slug = "backlog"
    title = "Pipeline backlog"


class LogUnavailableError(ProblemError):
    """Kafka did not acknowledge in time; the events may still be stored, and a resend is safe."""

    status = 503
    slug = "log-unavailable"
    title = "Kafka did not take the events"
