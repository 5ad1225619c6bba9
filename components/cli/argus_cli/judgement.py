"""What would become of a dead letter now: the judgement of ingest and of the stream, once more.

Pure. Both judgements are the contract's own, so what passes here passes there; only the database
can refuse what nobody foresaw. What the edge once refused becomes the record that the edge would
write today; what the stream refused is an envelope already and goes out as it is, byte for byte.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from argus_contract import envelope, headers, records, storable
from argus_contract.event_schemas import Validators
from argus_contract.headers import Header
from argus_contract.ids import is_uuid
from argus_contract.items import Item, Reject
from argus_contract.judge import NotJsonError, judge, not_json
from argus_contract.records import Record
from argus_contract.registry import Pipeline, Validation
from argus_contract.rejects import Code, Step
from argus_contract.storable import Refusal
from argus_contract.times import to_micros
from argus_contract.window import Window

from argus_cli.letters import Key, Letter, number

_BY_ID: Final[Header] = (headers.BY_ID, b"1")
_MICROSECOND_DIGITS: Final = 17
"""Of a time before the year 5138."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a letter would be now.

    `refusal` is the code for which it would be refused again, None where it passes; `record` is
    what a replay publishes, None where nothing can be published.
    """

    record: Record | None
    refusal: str | None = None
    message: str = ""


def judged(letter: Letter, pipeline: Pipeline, now: int) -> Judgement:
    """What the letter would be at `now`, in microseconds since the epoch."""
    if not belongs(letter, pipeline):
        return _as_before(letter, "it is of another topic than its pipeline's")
    if letter.truncated:
        return _as_before(letter, "only its beginning was kept")
    identity = letter.text(headers.ID)
    if not is_uuid(identity):
        return _as_before(letter, "it has no id: ARGUS did not write it")
    window = Window.at(now, pipeline.window)
    if letter.text(headers.STEP) == Step.INGEST:
        return _of_raw(letter, identity, pipeline, window)
    return _of_envelope(letter, identity, pipeline, window)


def belongs(letter: Letter, pipeline: Pipeline) -> bool:
    """Whether it, and the first letter of its event, are of the pipeline's topic.

    SQL takes no replay of another topic's root, and the stream would stand still at one.
    """
    return letter.key.topic == letter.root.topic == pipeline.topic


def _as_before(letter: Letter, message: str) -> Judgement:
    """Nothing that could be published."""
    return Judgement(None, letter.reason or Code.REFUSED, message)


def replayed(record: Record, root: Key, attempt: int) -> Record:
    """The record as a replay publishes it: what it is a replay of, and which attempt."""
    marks = [(headers.REPLAY_OF, str(root).encode()), (headers.ATTEMPT, str(attempt).encode())]
    return Record(record.key, record.value, [*record.headers, *marks])


def _of_raw(letter: Letter, identity: str, pipeline: Pipeline, window: Window) -> Judgement:
    """A letter of the client's own bytes."""
    received = _received(letter)
    item = _item(letter.value)
    if isinstance(item, Reject):
        record = records.of_reject(item, received, iter([identity]))
        return Judgement(record, item.code, item.message)
    record = records.of_event(item, pipeline, received, iter([identity]))
    refusal = _refusal(record.value, pipeline, window)
    return Judgement(record) if refusal is None else Judgement(record, *refusal)


def _item(value: bytes) -> Item:
    try:
        return judge(value, 0)
    except NotJsonError as error:
        return not_json(value, str(error))


def _of_envelope(letter: Letter, identity: str, pipeline: Pipeline, window: Window) -> Judgement:
    """A letter that the edge had accepted."""
    by_id = [_BY_ID] if headers.BY_ID in letter.fields else []
    record = Record(_key(letter.value), letter.value, [(headers.ID, identity.encode()), *by_id])
    refusal = _refusal(letter.value, pipeline, window)
    return Judgement(record) if refusal is None else Judgement(record, *refusal)


def _refusal(value: bytes, pipeline: Pipeline, window: Window) -> Refusal | None:
    """Why the stream would refuse a record with this value."""
    refusal = storable.of_value(value, window)
    validation = pipeline.validation
    if refusal is not None or validation is None or not validation.enforce:
        return refusal
    event = envelope.decode(value).event
    mismatch = _validators(validation).mismatch(event.event, event.properties)
    return None if mismatch is None else Refusal(Code.SCHEMA, mismatch)


@lru_cache(maxsize=8)
def _validators(validation: Validation) -> Validators:
    return Validators(validation)


def _key(value: bytes) -> bytes | None:
    """The Kafka key that the edge gave it: who sent it, so that it meets the sender's partition."""
    try:
        event = envelope.decode(value).event
    except storable.UNDECODABLE:
        return None
    key = event.distinct_id or event.session_id
    return key.encode() if key else None


def _received(letter: Letter) -> int:
    """When the edge received it, in microseconds; when it was dead-lettered, if nobody says."""
    received = number(letter.fields.get(headers.RECEIVED), _MICROSECOND_DIGITS)
    return to_micros(letter.at) if received is None else received
