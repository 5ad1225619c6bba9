"""What is in a body: its items, and then each an event or a reject.

Two steps, because what a request costs is known after the first one, which is the cheaper by far.
A large body gives other requests a turn each millisecond.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from argus_contract.items import Item
from argus_contract.judge import judge, judge_line

from argus_ingest.errors import TooManyEventsError
from argus_ingest.read import NDJSON
from argus_ingest.split import split, split_lines

_SLICE_ITEMS: Final = 250
_SLICE_BYTES: Final = 256 * 1024
"""After so much work the loop gets a turn: about a millisecond of it."""


def is_short(items: int, size: int) -> bool:
    """Whether so many items, of `size` bytes in all, are at most about a millisecond's work."""
    return items <= _SLICE_ITEMS and size <= _SLICE_BYTES


def slices(items: int, size: int) -> Sequence[range]:
    """Indices in portions of about a millisecond's work; `size` is that of all items, in bytes."""
    if is_short(items, size):
        return (range(items),)
    portion = max(1, min(_SLICE_ITEMS, items * _SLICE_BYTES // max(1, size)))
    return [range(start, min(start + portion, items)) for start in range(0, items, portion)]


def separate(media: bytes, body: bytes, most: int) -> list[bytes]:
    """The items, not judged yet; raises NotJsonError and, above `most`, TooManyEventsError."""
    raws = split_lines(body) if media == NDJSON else split(body)
    if len(raws) > most:
        raise TooManyEventsError(
            f"The body has {len(raws)} events; one request may carry {most}.",
            members={"limit": most},
        )
    return raws


def judge_each(raws: Sequence[bytes], media: bytes, first: int = 0) -> list[Item]:
    """What each item is, the first of which is number `first`. Raises NotJsonError, not for
    lines."""
    judge_one = judge_line if media == NDJSON else judge
    return [judge_one(raw, index) for index, raw in enumerate(raws, first)]


async def judge_all(raws: Sequence[bytes], media: bytes, size: int) -> list[Item]:
    """The same of many; `size` is that of all, in bytes."""
    items: list[Item] = []
    for portion in slices(len(raws), size):
        if portion.start:
            await asyncio.sleep(0)
        items += judge_each(raws[portion.start : portion.stop], media, portion.start)
    return items
