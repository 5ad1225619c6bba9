"""The closed list of reasons for which an event is not stored."""

from enum import StrEnum


class Code(StrEnum):
    """Reason of a reject or dead letter; the text beside each is for the documentation."""

    INVALID_JSON = "invalid_json"
    """The body, or one line of NDJSON, is not JSON."""
    INVALID_EVENT = "invalid_event"
    """JSON, but not an event: a field is missing or has the wrong type; the message names it."""
    UNKNOWN_FIELD = "unknown_field"
    """A top-level field that ARGUS does not know; the message names it."""
    TOO_LARGE = "too_large"
    """Larger than the limit for one event; kept to its first 64 KiB and not replayable."""
    TOO_DEEP = "too_deep"
    """Nested deeper than the limit."""
    TOO_OLD = "too_old"
    """Its time is before the pipeline's accepted window."""
    TOO_NEW = "too_new"
    """Its time is after the pipeline's accepted window."""
    UNSTORABLE = "unstorable"
    """PostgreSQL cannot hold it: NUL or a lone surrogate in a string."""
    SCHEMA = "schema"
    """Its properties do not fit the pipeline's JSON Schema of that event; the message says
    where."""
    REFUSED = "refused"
    """The database refused this one event, alone; the error text is the database's."""
    INTERNAL = "internal"
    """ARGUS failed on it, by a defect of its own; to be replayed once that is mended."""


class Step(StrEnum):
    """Which step of the way refused an event."""

    INGEST = "ingest"
    DECODE = "decode"
    STORE = "store"
