"""What the load sends: events and mistakes of many kinds, each with an id of its own.

The id stands first in every item, malformed ones too, so that it is found again in a row, in a dead
letter, or in what is left of a body that was no JSON. Pure but for the clock.
"""

import base64
import hashlib
import json
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from argus_contract.ids import new_id
from argus_contract.rejects import Code
from argus_contract.sizes import MAX_CLOCK_AHEAD_S
from argus_contract.times import rfc3339

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
HOT: Final = "hot"
"""The distinct_id of the share `Shape.hot`."""

_SECOND: Final = 1_000_000
_PEOPLE: Final = 500
_GZIP: Final = 16 + zlib.MAX_WBITS


class Item(NamedTuple):
    """One event, or what was to be one; `id` is the UUID's 16 bytes."""

    id: bytes
    code: Code | None
    """Why it must become a dead letter; None: it must become a row."""
    at_edge: bool
    """Whether the answer already says that it is refused."""
    content: bytes = b""
    """Of what must become a row, the `digest` of what was sent."""

    @property
    def letters_each(self) -> bool:
        """Whether each send makes a dead letter: what is no JSON has no id that tells a repeat."""
        return self.code is Code.INVALID_JSON


@dataclass(frozen=True, slots=True)
class Request:
    """One body to post; `answer` is the status that acknowledges it."""

    body: bytes
    content_type: str
    encoding: str | None
    items: tuple[Item, ...]
    answer: int


@dataclass(slots=True)
class Shape:
    """How the traffic of one flow looks; may be changed while it flows. Shares are 0 to 1."""

    alone: float = 0.12
    """Of all events, those that are a request of their own."""
    batch: tuple[int, int] = (5, 60)
    """Fewest and most events of the other requests."""
    malformed: float = 0.02
    """Of all events, those that cannot be stored."""
    hot: float = 0.0
    """Of all events, those of one distinct_id."""
    bulk: int = 0
    """Bytes in each event that no codec makes smaller."""
    skew: float = 0.0
    """Seconds by which the client's clock is ahead; not an hour, where what is accepted ends."""

    @property
    def refused(self) -> Code | None:
        """Why timestamps of this clock are refused, None where they are accepted."""
        return Code.TOO_NEW if self.skew > MAX_CLOCK_AHEAD_S else None


class Traffic:
    """An endless supply of requests in a given shape."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self._random = random.Random(seed)

    def next(self) -> Request:
        """The next request, its times those of now by the client's clock."""
        now = time.time_ns() // 1000 + round(self.shape.skew * _SECOND)
        fewest, most = self.shape.batch
        if self._random.random() < self._alone_share((fewest + most) / 2):
            return self._single(now)
        size = self._random.randint(fewest, most)
        return self._batch([self._item(now) for _ in range(size)])

    def _alone_share(self, batch: float) -> float:
        """Of requests, where `alone` is a share of events."""
        alone = self.shape.alone
        return alone * batch / (alone * batch + 1 - alone)

    def _single(self, now: int) -> Request:
        item, text = self._item(now)
        if item.code is not None or self._random.random() >= self.shape.malformed:
            return Request(text, JSON, None, (item,), _answer([item]))
        garbage = Item(item.id, Code.INVALID_JSON, True)
        return Request(text[:-1], JSON, None, (garbage,), 400)

    def _batch(self, made: list[tuple[Item, bytes]]) -> Request:
        texts = [text for _, text in made]
        style = self._random.randrange(4)
        encoding = None
        content_type = JSON
        if style == 0:
            body, content_type = b"\n".join(texts), NDJSON
        elif style == 1:
            body = b'{"batch":[%b]}' % b",".join(texts)
        else:
            body = b"[%b]" % b",".join(texts)
        if style == 3:
            packer = zlib.compressobj(1, wbits=_GZIP)
            body, encoding = packer.compress(body) + packer.flush(), "gzip"
        items = tuple(item for item, _ in made)
        return Request(body, content_type, encoding, items, _answer(items))

    def _item(self, now: int) -> tuple[Item, bytes]:
        if self._random.random() < self.shape.malformed:
            return self._mistake(now)
        return self._event(now)

    def _event(self, now: int) -> tuple[Item, bytes]:
        event_id = new_id(now)
        fields = f'"distinct_id":"{self._who()}",{self._content()}'
        kind = self._random.random()
        if kind < 0.1:  # known by its id alone
            event_id = f"{event_id[:14]}4{event_id[15:]}"
        elif kind > 0.2:  # between the two: the time inside the id is the event's, if accepted
            fields = f'"timestamp":"{rfc3339(now)}",{fields}'
            return _item(event_id, self.shape.refused, fields)
        return _item(event_id, None, fields)

    def _who(self) -> str:
        if self.shape.hot and self._random.random() < self.shape.hot:
            return HOT
        return f"person-{self._random.randrange(_PEOPLE)}"

    def _content(self) -> str:
        if self.shape.bulk:
            data = base64.b64encode(self._random.randbytes(self.shape.bulk)).decode()
            return f'"event":"upload","properties":{{"data":"{data}"}}'
        match self._random.randrange(5):
            case 0:
                return '"event":"click","properties":{"element":"buy"}'
            case 1:
                took = self._random.randrange(2_000) / 10
                return (
                    '"event":"api_latency","properties":{"route":"/api","method":"GET",'
                    f'"status":200,"duration_ms":{took}}}'
                )
            case 2:
                value = self._random.randrange(100)
                return (
                    f'"event":"health_metric","value":{value},'
                    '"properties":{"metric":"cpu","unit":"percent"}'
                )
            case 3:
                return '"event":"signup","properties":{"plan":"free","note":"päß ✓"}'
            case _:
                return (
                    '"event":"page_view","session_id":"s",'
                    '"properties":{"url":"https://shop.example/cart","title":"Cart"}'
                )

    def _mistake(self, now: int) -> tuple[Item, bytes]:
        code, at_edge, fields = self._random.choice(_MISTAKES)
        if code is not Code.TOO_OLD:
            if not at_edge:
                code = self.shape.refused or code
            fields = f'"timestamp":"{rfc3339(now)}",{fields}'
        return _item(new_id(now), code, fields, at_edge)


_MISTAKES: Final = (
    (Code.INVALID_EVENT, True, '"event":"page_view","properties":{"title":"no url"}'),
    (Code.UNKNOWN_FIELD, True, '"event":"click","properties":{"element":"x"},"colour":"red"'),
    (Code.TOO_OLD, False, '"event":"signup","timestamp":"1999-12-31T23:59:59Z"'),
    (Code.UNSTORABLE, False, '"event":"signup","properties":{"nul":"\\u0000"}'),
    # numeric has no room for it, which only the database notices: the batch is taken apart
    (Code.UNSTORABLE, False, '"event":"signup","properties":{"huge":1e200000}'),
)


def _item(
    event_id: str, code: Code | None, fields: str, at_edge: bool = False
) -> tuple[Item, bytes]:
    text = f'{{"id":"{event_id}",{fields}}}'.encode()
    content = _sent(text) if code is None else b""
    return Item(bytes.fromhex(event_id.replace("-", "")), code, at_edge, content), text


def _sent(text: bytes) -> bytes:
    fields = json.loads(text)
    given = fields.get("timestamp")
    return digest(
        fields["event"],
        fields["distinct_id"],
        fields.get("session_id"),
        None if given is None else datetime.fromisoformat(given),
        fields["properties"],
    )


def digest(
    event: str,
    distinct_id: str,
    session_id: str | None,
    time: datetime | None,
    properties: dict[str, Any],
) -> bytes:
    """Eight bytes that tell an event's content, as sent or as stored, from another's.

    `time` is None where the client gave none, and then ARGUS chooses.
    """
    moment = None if time is None else time.astimezone(UTC).isoformat()
    content = [event, distinct_id, session_id, moment, properties]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).digest()


def _answer(items: "tuple[Item, ...] | list[Item]") -> int:
    """422 where no item is an event."""
    return 422 if all(item.at_edge for item in items) else 202


def written_ids(value: bytes) -> Iterator[bytes]:
    """The ids in what is left of a request or an envelope, as 16 bytes each, in order."""
    for part in value.split(b'"id":"')[1:]:
        yield bytes.fromhex(part[:36].decode().replace("-", ""))


def readable(event_id: bytes) -> str:
    """The id as people write it."""
    digits = event_id.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
