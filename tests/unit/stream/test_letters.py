"""What a dead letter carries."""

from datetime import UTC, datetime

from argus_contract import headers, sizes
from argus_contract.rejects import Code, Step
from argus_stream.letters import LARGEST, Letters, mail
from argus_stream.slices import Letter, Slice

from tests.unit.stream.fakes import FakeLedger, FakePost
from tests.unit.stream.samples import NOW, FakeRecord, identity, lease, letter


def made(value: bytes | None, *found: tuple[str, bytes]) -> Letter:
    known = ((headers.ID, identity(5).encode()), *found)
    return Letter(FakeRecord(5, value, known), identity(5), Code.TOO_OLD, Step.DECODE, "ö", "click")


def test_it_carries_its_origin_its_reason_and_the_original_bytes() -> None:
    key, value, found = mail(lease(partition=3), made(b"\xff\x00"), NOW)
    assert key == b"argus.ns.web.0badcafe/3/5"
    assert value == b"\xff\x00"
    assert dict(found) == {
        headers.REASON: b"too_old",
        headers.STEP: b"decode",
        headers.ERROR: "ö".encode(),
        headers.ATTEMPT: b"1",
        headers.SOURCE_TOPIC: b"argus.ns.web.0badcafe",
        headers.SOURCE_PARTITION: b"3",
        headers.SOURCE_OFFSET: b"5",
        headers.TIME: b"2027-01-15T08:00:00.000000Z",
        headers.TENANT: b"ns/shop",
        headers.PIPELINE: b"web",
        headers.ID: identity(5).encode(),
        headers.EVENT: b"click",
    }


def test_what_the_edge_said_of_the_record_is_kept() -> None:
    said = (
        (headers.BY_ID, b"1"),
        (headers.RECEIVED, b"17"),
        (headers.TRUNCATED, b"300000"),
        (headers.EVENT, b"view"),
    )
    found = mail(lease(), made(b"x", *said), NOW).headers
    assert set(said) <= set(found)
    assert len({name for name, _ in found}) == len(found)


def test_a_value_that_no_dead_letter_topic_takes_is_cut_and_says_so() -> None:
    whole = mail(lease(), made(b"x" * LARGEST), NOW)
    cut = mail(lease(), made(b"x" * (LARGEST + 1)), NOW)
    assert whole.value == b"x" * LARGEST
    assert headers.get(whole.headers, headers.TRUNCATED) is None
    assert cut.value == b"x" * sizes.KEPT_OF_REJECT
    assert headers.get(cut.headers, headers.TRUNCATED) == str(LARGEST + 1).encode()


def test_a_record_without_a_value_makes_a_letter_without_one() -> None:
    assert mail(lease(), made(None), NOW).value is None


async def test_ids_are_asked_for_with_the_time_by_which_they_would_be_known() -> None:
    ledger = FakeLedger()
    timed, untimed, beyond = letter(0), letter(1), letter(2)
    timed.time, beyond.time = NOW, 2**62
    piece = Slice(lease(), 0, 3, letters=[timed, untimed, beyond])
    await Letters(FakePost(), ledger, 1, print).send([piece])
    ((topic, ids, times),) = ledger.asked
    assert topic == "argus.ns.web.0badcafe"
    assert list(ids) == [identity(0), identity(1), identity(2)]
    assert list(times) == [datetime(2027, 1, 15, 8, tzinfo=UTC), None, None]


async def test_without_letters_nobody_is_asked() -> None:
    ledger = FakeLedger()
    await Letters(FakePost(), ledger, 1, print).send([Slice(lease(), 0, 0)])
    assert ledger.asked == []
