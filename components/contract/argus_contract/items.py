"""What the judge makes of an item: an event, or a reject that says why it is none.

Plain classes, one of each is made for every event: compiled, they cost a quarter of a struct's.
"""

from typing import Final, final

from argus_contract.events import Fields
from argus_contract.rejects import Code


@final
class Accepted:
    """An event as we read it and as the client wrote it."""

    __slots__ = ("event", "raw", "value")

    def __init__(self, event: Fields, raw: bytes, value: float | None) -> None:
        """`value` is derived, where the event has none of its own."""
        self.event: Final = event
        self.raw: Final = raw
        self.value: Final = value


@final
class Reject:
    """An item that is no event, or a body that is no JSON."""

    __slots__ = ("code", "id", "index", "message", "name", "raw", "size")

    def __init__(
        self,
        index: int,
        code: Code,
        message: str,
        raw: bytes,
        size: int,
        name: str | None = None,
        id: str | None = None,
    ) -> None:
        """`raw` is what the client sent, cut where its `size` says that there was more.

        `name` is the event's, where it was legible: it decides the pipeline. So is `id`, the
        client's own in lower case: a resend is the same reject.
        """
        self.index: Final = index
        self.code: Final = code
        self.message: Final = message
        self.raw: Final = raw
        self.size: Final = size
        self.name: Final = name
        self.id: Final = id


Item = Accepted | Reject
