"""Dead letters: what is not stored goes to the pipeline's dead-letter topic before it is counted.

First the letter, acknowledged by all in-sync replicas, then the ledger: a crash between the two
writes the letter again under the same key, which every reader takes for one. Never the other way.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from argus_contract import headers, sizes
from argus_contract.headers import Header
from argus_contract.times import from_micros, rfc3339

from argus_stream import metrics
from argus_stream.errors import LettersError, TableError
from argus_stream.ports import Ledger, Mail, Post
from argus_stream.slices import Letter, Slice
from argus_stream.sources import Lease, Source

LARGEST: Final = sizes.MAX_EVENT + sizes.RECORD_OVERHEAD
"""Largest value that a letter carries whole, in bytes; ingest writes none larger."""

_CARRIED: Final = (headers.EVENT, headers.BY_ID, headers.RECEIVED, headers.TRUNCATED)
"""Headers that a letter has from its source, as they were."""


class Letters:
    """Sends the letters of slices that are about to be stored."""

    def __init__(self, post: Post, ledger: Ledger) -> None:
        self._post = post
        self._ledger = ledger

    async def send(self, pieces: Sequence[Slice]) -> Mapping[str, LettersError | TableError]:
        """Sends what was not sent yet; gives the topics of which the letters failed, and why.

        A letter whose id is known already is not sent, but counted as a repeat. Raises
        UnavailableError where the database cannot say which ids are known.
        """
        by_topic: dict[str, list[Slice]] = defaultdict(list)
        for piece in pieces:
            if any(not letter.sent for letter in piece.letters):
                by_topic[piece.lease.source.topic].append(piece)
        if not by_topic:
            return {}
        outcomes = await asyncio.gather(
            *(self._send(topic, some) for topic, some in by_topic.items()), return_exceptions=True
        )
        failed = {}
        for topic, outcome in zip(by_topic, outcomes, strict=True):
            if isinstance(outcome, LettersError | TableError):
                failed[topic] = outcome
            elif outcome is not None:
                raise outcome
        return failed

    async def _send(self, topic: str, pieces: Sequence[Slice]) -> None:
        await self._set_repeats_apart(topic, pieces)
        unsent = [
            (piece.lease, letter) for piece in pieces for letter in piece.letters if not letter.sent
        ]
        if not unsent:
            return
        now = time.time_ns() // 1000
        target = pieces[0].lease.route.pipeline.dead_letter_topic
        await self._post.deliver(target, [mail(lease, letter, now) for lease, letter in unsent])
        for _, letter in unsent:
            letter.sent = True
            metrics.LETTERS.labels(letter.code).inc()

    async def _set_repeats_apart(self, topic: str, pieces: Sequence[Slice]) -> None:
        fresh = [letter for piece in pieces for letter in piece.letters if not letter.sent]
        known = await self._ledger.known_ids(
            topic, [letter.id for letter in fresh], [_time(letter) for letter in fresh]
        )
        seen = {letter.id for piece in pieces for letter in piece.letters if letter.sent} | known
        for piece in pieces:
            repeats = []
            for letter in piece.letters:
                if letter.sent:
                    continue
                if letter.id in seen:
                    repeats.append(letter)
                seen.add(letter.id)
            if repeats:
                piece.repeat(repeats)


def mail(lease: Lease, letter: Letter, now: int) -> Mail:
    """The dead letter as it is written at `now`, microseconds since the epoch."""
    record = letter.record
    source = lease.source
    value = record.value
    written = [
        *_reason(letter),
        *_origin(source, record.offset),
        (headers.TIME, rfc3339(now).encode()),
        (headers.TENANT, lease.route.tenant.display.encode()),
        (headers.PIPELINE, lease.route.pipeline.name.encode()),
        (headers.ID, letter.id.encode()),
        *((name, found) for name in _CARRIED if (found := headers.get(record.headers, name))),
    ]
    names = {name for name, _ in written}
    if headers.EVENT not in names and letter.event is not None:
        written.append((headers.EVENT, letter.event.encode()))
    if value is not None and len(value) > LARGEST:
        if headers.TRUNCATED not in names:
            written.append((headers.TRUNCATED, str(len(value)).encode()))
        value = value[: sizes.KEPT_OF_REJECT]
    return Mail(headers.letter_key(source.topic, source.partition, record.offset), value, written)


def _reason(letter: Letter) -> list[Header]:
    return [
        (headers.REASON, letter.code.encode()),
        (headers.STEP, letter.step.encode()),
        (headers.ERROR, letter.error.encode()),
        (headers.ATTEMPT, b"1"),
    ]


def _origin(source: Source, offset: int) -> list[Header]:
    return [
        (headers.SOURCE_TOPIC, source.topic.encode()),
        (headers.SOURCE_PARTITION, str(source.partition).encode()),
        (headers.SOURCE_OFFSET, str(offset).encode()),
    ]


def _time(letter: Letter) -> datetime | None:
    """The letter's own time, None where it has none or no calendar holds it."""
    if letter.time is None:
        return None
    try:
        return from_micros(letter.time)
    except OverflowError:
        return None
