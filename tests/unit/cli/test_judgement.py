import json

import msgspec
import pytest
from argus_cli.judgement import judged, replayed
from argus_contract import envelope, headers
from argus_contract.ids import new_id
from argus_contract.registry import EventSchema, Pipeline, Validation
from argus_contract.rejects import Code, Step
from argus_contract.times import SECOND

from tests.unit.cli.dead_letters import DAY, IDENTITY, NOW, PIPELINE, letter, wrapped

RECEIVED = NOW - 3_600 * SECOND


def raw(**event: object) -> bytes:
    return json.dumps({"event": "signup", **event}).encode()


def of_ingest(value: bytes, code: Code = Code.UNKNOWN_FIELD) -> object:
    return judged(letter(value, reason=code, received=b"%d" % RECEIVED), PIPELINE, NOW)


def test_an_envelope_that_passes_goes_out_as_it_is() -> None:
    value = wrapped(NOW - DAY * SECOND)

    found = judged(letter(value, reason=Code.TOO_OLD, step=Step.DECODE), PIPELINE, NOW)

    assert found.refusal is None
    assert found.record is not None
    assert found.record.value == value
    assert found.record.key == b"me"
    assert found.record.headers == [(headers.ID, IDENTITY.encode())]


def test_an_id_that_alone_tells_a_duplicate_does_so_again() -> None:
    value = wrapped(NOW)

    found = judged(letter(value, step=Step.STORE, reason=Code.REFUSED, by_id=b"1"), PIPELINE, NOW)

    assert found.record is not None
    assert (headers.BY_ID, b"1") in found.record.headers


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (wrapped(NOW - 8 * DAY * SECOND), Code.TOO_OLD),
        (wrapped(NOW + DAY * SECOND), Code.TOO_NEW),
        (wrapped(NOW, rb'{"event":"a","properties":{"a":"\u0000"}}'), Code.UNSTORABLE),
        (wrapped(NOW, rb'{"event":"a","properties":{"a":"\ud800"}}'), Code.UNSTORABLE),
        (wrapped(NOW, b'{"event":"a","properties":{"a":1e200000}}'), Code.UNSTORABLE),
        (b"not an envelope", Code.INVALID_JSON),
        (b'{"event":"a"}', Code.INVALID_EVENT),
        (b"", Code.INVALID_JSON),
    ],
)
def test_what_the_stream_would_refuse_again_is_told_by_its_code(value: bytes, code: Code) -> None:
    found = judged(letter(value, step=Step.DECODE, reason="whatever"), PIPELINE, NOW)

    assert found.refusal == code
    assert found.message
    assert found.record is not None
    assert found.record.value == value


def test_what_the_edge_refused_becomes_what_the_edge_would_write_today() -> None:
    body = raw(distinct_id="you", properties={"plan": "free"})

    found = judged(letter(body, received=b"%d" % RECEIVED), PIPELINE, NOW)

    assert found.refusal is None
    assert found.record is not None
    decoded = envelope.decode(found.record.value)
    assert (decoded.id, decoded.time, decoded.received) == (IDENTITY, RECEIVED, RECEIVED)
    assert found.record.value.endswith(body + b"}")
    assert found.record.key == b"you"
    assert found.record.headers == [(headers.ID, IDENTITY.encode())]


def test_the_clients_own_id_and_time_are_kept_so_that_its_resends_are_duplicates() -> None:
    own = new_id(RECEIVED)

    found = judged(
        letter(raw(id=own.upper(), timestamp="2027-01-15T07:30:00Z"), received=b"%d" % RECEIVED),
        PIPELINE,
        NOW,
    )

    assert found.record is not None
    decoded = envelope.decode(found.record.value)
    assert (decoded.id, decoded.time) == (own, 1_799_998_200 * SECOND)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (raw(colour="red"), Code.UNKNOWN_FIELD),
        (b"{", Code.INVALID_JSON),
        (raw(event="page_view"), Code.INVALID_EVENT),
        (raw(timestamp="1999-01-01T00:00:00Z"), Code.TOO_OLD),
        (rb'{"event":"a","properties":{"a":"\u0000"}}', Code.UNSTORABLE),
    ],
)
def test_what_the_edge_or_the_stream_would_refuse_again_is_told_by_its_code(
    value: bytes, code: Code
) -> None:
    found = judged(letter(value, received=b"%d" % RECEIVED), PIPELINE, NOW)

    assert found.refusal == code


def test_a_reject_can_be_published_as_a_reject_again() -> None:
    value = raw(colour="red")

    record = judged(letter(value, received=b"%d" % RECEIVED), PIPELINE, NOW).record

    assert record is not None
    assert record.value == value
    assert headers.get(record.headers, headers.REJECT) == Code.UNKNOWN_FIELD.encode()
    assert headers.get(record.headers, headers.ID) == IDENTITY.encode()
    assert headers.get(record.headers, headers.RECEIVED) == b"%d" % RECEIVED
    assert headers.get(record.headers, headers.EVENT) == b"signup"


def test_of_what_was_cut_nothing_is_published() -> None:
    found = judged(letter(raw(), reason=Code.TOO_LARGE, truncated=b"300000"), PIPELINE, NOW)

    assert (found.record, found.refusal) == (None, Code.TOO_LARGE)


@pytest.mark.parametrize("identity", [b"", b"not-a-uuid", b"\xff"])
def test_a_letter_without_an_id_is_not_ours(identity: bytes) -> None:
    found = judged(letter(raw(), reason="strange", id=identity), PIPELINE, NOW)

    assert (found.record, found.refusal) == (None, "strange")


@pytest.mark.parametrize("received", [b"", b"soon", b"9" * 5_000])
def test_without_a_time_of_receipt_the_letters_own_time_counts(received: bytes) -> None:
    found = judged(letter(raw(), received=received), PIPELINE, NOW)

    assert found.record is not None
    assert envelope.decode(found.record.value).received == NOW


def test_a_replay_says_of_what_and_which_attempt_it_is() -> None:
    first = letter(wrapped(NOW), step=Step.DECODE)
    record = judged(first, PIPELINE, NOW).record
    assert record is not None

    published = replayed(record, first.root, 3)

    assert published.value == record.value
    assert headers.get(published.headers, headers.REPLAY_OF) == str(first.key).encode()
    assert headers.get(published.headers, headers.ATTEMPT) == b"3"
    assert record.headers == [(headers.ID, IDENTITY.encode())]


def schema_of_signup(text: str, *, enforce: bool = True) -> Pipeline:
    validation = Validation(enforce, (EventSchema("signup", text),))
    return msgspec.structs.replace(PIPELINE, validation=validation)


STRICT = schema_of_signup('{"properties":{"plan":{"enum":["free","paid"]}}}')
LENIENT = schema_of_signup("{}")
OBSERVING = schema_of_signup('{"properties":{"plan":{"enum":["free"]}}}', enforce=False)


@pytest.mark.parametrize(
    ("pipeline", "refusal"),
    [(STRICT, Code.SCHEMA), (LENIENT, None), (OBSERVING, None), (PIPELINE, None)],
)
def test_a_letter_passes_once_the_schema_takes_it(pipeline: Pipeline, refusal: Code | None) -> None:
    """So it is for what the stream refused, and for what would pass the edge by now."""
    body = raw(properties={"plan": "gold"})
    stream = letter(wrapped(NOW, body), reason=Code.SCHEMA, step=Step.DECODE)
    edge = letter(body, reason=Code.UNKNOWN_FIELD, received=b"%d" % RECEIVED)

    for found in (judged(stream, pipeline, NOW), judged(edge, pipeline, NOW)):
        assert found.refusal == refusal
        assert found.record is not None
        assert found.message.startswith("/properties/plan: ") is (refusal is not None)
