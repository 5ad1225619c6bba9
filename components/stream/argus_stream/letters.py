"""Dead letters: what is not stored goes to the pipeline's dead-letter topic before it is counted.

First the letter, acknowledged by all in-sync replicas, then the ledger: a crash between the two
writes the letter again under the same key, which every reader takes for one. Never the other way.

A pipeline whose letters take long is not waited for: its slices are dropped and read again once the
letters are there, which are remembered until then. So a dead-letter topic that is missing or slow
holds up nobody else's rows.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from argus_contract import headers, sizes
from argus_contract.headers import Header
from argus_contract.rejects import Step
from argus_contract.times import from_micros, rfc3339

from argus_stream import metrics
from argus_stream.errors import StreamError, UnavailableError
from argus_stream.ports import Ledger, Mail, Post
from argus_stream.slices import Letter, Replay, Slice
from argus_stream.sources import Lease, Source

logger = logging.getLogger(__name__)

LARGEST: Final = sizes.MAX_EVENT + sizes.RECORD_OVERHEAD
"""Largest value that a letter carries whole, in bytes; ingest writes none larger."""

_CARRIED: Final = (headers.EVENT, headers.BY_ID, headers.RECEIVED, headers.TRUNCATED)
"""Headers that a letter has from its source, as they were."""


Identity = tuple[str, bool] | Replay
"""By what a letter is known to be another's copy: its id and whether the edge refused it, or which
try of which letter it is."""


class Letters:
    """Sends the letters of slices that are about to be stored."""

    def __init__(
        self, post: Post, ledger: Ledger, patience: float, done: Callable[[str, str | None], None]
    ) -> None:
        """`patience` is how long, in seconds, one pipeline's letters may hold the others up.

        `done` is called with the topic of letters that took longer, once they are delivered or have
        failed, and with the reason if they have.
        """
        self._post = post
        self._ledger = ledger
        self._patience = patience
        self._done = done
        self._late: dict[str, asyncio.Task[None]] = {}
        self._delivered: dict[Source, set[int]] = {}
        """Offsets of letters that are in Kafka though their slices were dropped."""

    async def send(
        self, pieces: Sequence[Slice], patience: float = 0.0
    ) -> Mapping[str, str | None]:
        """Sends what was not sent yet; gives the topics whose letters are not there, and why.

        `patience` is for callers who hold up the others anyway, and may be longer than the usual.
        There is no reason, yet, for those that are on their way. A letter whose id is known already
        is not sent, but counted as a repeat. Raises UnavailableError where the database cannot say
        which ids are known.
        """
        by_topic: dict[str, list[Slice]] = defaultdict(list)
        for piece in pieces:
            if piece.letters and self._unsent(piece):
                by_topic[piece.lease.source.topic].append(piece)
        if not by_topic:
            return {}
        late = dict.fromkeys(by_topic.keys() & self._late.keys())
        sending = {
            topic: asyncio.create_task(self._send(topic, some), name=f"letters of {topic}")
            for topic, some in by_topic.items()
            if topic not in late
        }
        found = late | await self._await(sending, max(patience, self._patience))
        for topic in late.keys() - self._late.keys():  # came while others were waited for
            asyncio.get_running_loop().call_soon(self._done, topic, None)
        return found

    def _unsent(self, piece: Slice) -> bool:
        """Whether a letter is to be sent, once those are told that have been delivered."""
        delivered = self._delivered.get(piece.lease.source)
        if delivered is not None:
            for letter in piece.letters:
                letter.sent = letter.sent or letter.record.offset in delivered
            delivered -= {offset for offset in delivered if offset < piece.start}
        return any(not letter.sent for letter in piece.letters)

    async def _await(
        self, sending: Mapping[str, "asyncio.Task[None]"], patience: float
    ) -> dict[str, str | None]:
        if not sending:
            return {}
        try:
            await asyncio.wait(sending.values(), timeout=patience)
        except asyncio.CancelledError:
            await _cancel(sending.values())
            raise
        failed: dict[str, str | None] = {}
        unavailable = None
        for topic, task in sending.items():
            if not task.done():
                failed[topic] = None
                self._late[topic] = task
                task.add_done_callback(partial(self._arrived, topic))
            elif isinstance(error := task.exception(), UnavailableError):
                unavailable = error
            elif error is not None:
                failed[topic] = _reason_of(error)
        if unavailable is not None:
            raise unavailable
        return failed

    def _arrived(self, topic: str, task: "asyncio.Task[None]") -> None:
        self._late.pop(topic, None)
        if task.cancelled():
            return
        error = task.exception()
        self._done(topic, None if error is None else _reason_of(error))

    async def close(self) -> None:
        """Gives up what is on its way."""
        await _cancel(list(self._late.values()))

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
        for lease, letter in unsent:
            letter.sent = True
            metrics.LETTERS.labels(letter.code).inc()
            if topic in self._late:
                self._delivered.setdefault(lease.source, set()).add(letter.record.offset)

    async def _set_repeats_apart(self, topic: str, pieces: Sequence[Slice]) -> None:
        known = await self._known(topic, [x for piece in pieces for x in piece.letters])
        seen = {_identity(x) for piece in pieces for x in piece.letters if x.sent} | known
        for piece in pieces:
            repeats = []
            for letter in piece.letters:
                if letter.sent:
                    continue
                if _identity(letter) in seen:
                    repeats.append(letter)
                seen.add(_identity(letter))
            if repeats:
                piece.repeat(repeats)

    async def _known(self, topic: str, letters: Sequence[Letter]) -> set[Identity]:
        """Which of them need no further letter.

        A replay has its first letter's id, so it is known by root and attempt instead: of each root
        one attempt is asked for at a time.
        """
        fresh = [letter for letter in letters if not letter.sent]
        plain = [letter for letter in fresh if letter.replay is None]
        replays = {letter.replay for letter in fresh if letter.replay is not None}
        known: set[Identity] = set()
        for rejects in (False, True):
            asked_for = [letter for letter in plain if _is_reject(letter) is rejects]
            if asked_for:
                ids = [letter.id for letter in asked_for]
                times = [_time(letter) for letter in asked_for]
                found = await self._ledger.known_ids(topic, ids, times, rejects=rejects)
                known |= {(id, rejects) for id in found}
        while replays:
            asked = {replay.root: replay for replay in replays}
            settled = await self._ledger.settled_replays(list(asked.values()))
            known |= {asked[root] for root in settled}
            replays -= set(asked.values())
        return known


async def _cancel(tasks: Collection["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _reason_of(error: BaseException) -> str:
    if not isinstance(error, StreamError):
        logger.error("letters could not be written", exc_info=error)
        return f"a defect of ARGUS: {error!r}"
    return str(error)


def _identity(letter: Letter) -> Identity:
    return letter.replay or (letter.id, _is_reject(letter))


def _is_reject(letter: Letter) -> bool:
    return letter.step is Step.INGEST


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
        (headers.ATTEMPT, str(letter.replay.attempt if letter.replay else 1).encode()),
        *([(headers.ROOT, letter.replay.root.encode())] if letter.replay else []),
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
