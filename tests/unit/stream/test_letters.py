"""What a dead letter carries."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from argus_contract import headers, sizes
from argus_contract.rejects import Code, Step
from argus_stream.letters import LARGEST, Letters, mail
from argus_stream.ports import Mail
from argus_stream.slices import Letter, Replay, Slice

from tests.unit.stream.fakes import FakeLedger, FakePost
from tests.unit.stream.samples import NOW, FakeRecord, identity, lease, letter

TOPIC = "argus.ns.web.0badcafe"


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


async def test_an_event_that_its_sender_corrected_is_no_copy_of_what_the_edge_refused() -> None:
    ledger, post = FakeLedger(), FakePost()
    ledger.rejected = {identity(0), identity(1)}
    refused_again, corrected = letter(0), letter(1)
    refused_again.step = Step.INGEST
    same_batch = letter(2)
    same_batch.step, same_batch.id = Step.INGEST, identity(3)
    piece = Slice(lease(), 0, 4, letters=[refused_again, corrected, same_batch, letter(3)])
    await Letters(post, ledger, 1, print).send([piece])
    assert piece.repeats == [0]
    assert [each.record.offset for each in piece.letters] == [1, 2, 3]


async def test_without_letters_nobody_is_asked() -> None:
    ledger = FakeLedger()
    await Letters(FakePost(), ledger, 1, print).send([Slice(lease(), 0, 0)])
    assert ledger.asked == []


def replay(offset: int, attempt: int = 2, root: int = 1) -> Letter:
    """A letter of a record that replays the letter of offset `root`."""
    made = letter(offset)
    made.id = identity(root)
    made.replay = Replay(f"{TOPIC}/0/{root}", attempt)
    return made


def test_a_letter_that_was_tried_again_names_its_root_and_its_attempt() -> None:
    found = dict(mail(lease(), replay(9, attempt=3), NOW).headers)
    assert found[headers.ATTEMPT] == b"3"
    assert found[headers.ROOT] == b"argus.ns.web.0badcafe/0/1"
    assert headers.ROOT not in dict(mail(lease(), letter(9), NOW).headers)


async def test_a_replay_is_a_repeat_where_its_attempt_is_settled_and_never_for_its_id() -> None:
    ledger, post = FakeLedger(), FakePost()
    ledger.known = {identity(1), identity(2)}
    ledger.settled = {f"{TOPIC}/0/2": 3}
    letters = [replay(5), replay(6, attempt=3, root=2), replay(7, attempt=4, root=2), replay(8)]
    piece = Slice(lease(start=5), 5, 9, letters=letters)
    await Letters(post, ledger, 1, print).send([piece])
    assert [each.record.offset for each in piece.letters] == [5, 7]
    assert piece.repeats == [6, 8], "settled before; a copy in the same batch"
    assert ledger.asked == [], "none of them has an id of its own"
    assert len(post.delivered[f"{TOPIC}.dead"]) == 2


async def test_letters_that_take_long_hold_up_nobody_and_are_remembered_once_they_are_there() -> (
    None
):
    post, done = FakePost(), list[tuple[str, str | None]]()
    post.slow = {f"{TOPIC}.dead": asyncio.Event()}
    letters = Letters(post, FakeLedger(), 0.01, lambda *those: done.append(those))
    slow, quick = Slice(lease(), 0, 1, letters=[letter(0)]), Slice(lease("b"), 0, 1)
    quick.letters.append(letter(0))
    assert await letters.send([slow, quick]) == {TOPIC: None}
    assert quick.letters[0].sent
    again = Slice(lease(), 0, 2, letters=[letter(0), letter(1)])
    assert await letters.send([again]) == {TOPIC: None}, "those of before are on their way"
    post.slow.pop(f"{TOPIC}.dead").set()
    await asyncio.sleep(0.01)
    assert done == [(TOPIC, None)]
    assert await letters.send([again]) == {}
    assert [mail.key for mail in post.delivered[f"{TOPIC}.dead"]] == [
        headers.letter_key(TOPIC, 0, offset) for offset in (0, 1)
    ]


async def test_late_letters_that_come_while_others_are_waited_for_are_told_again() -> None:
    """Their pipeline is closed only after that, and would wait for somebody to say so."""
    post, done = FakePost(), list[tuple[str, str | None]]()
    post.slow = {f"{topic}.dead": asyncio.Event() for topic in (TOPIC, "b")}
    letters = Letters(post, FakeLedger(), 0.02, lambda *those: done.append(those))
    first, second = (Slice(lease(topic), 0, 1, letters=[letter(0)]) for topic in (TOPIC, "b"))
    await letters.send([first])
    asyncio.get_running_loop().call_later(0.005, post.slow[f"{TOPIC}.dead"].set)
    assert await letters.send([first, second]) == {TOPIC: None, "b": None}
    assert done == [(TOPIC, None)]
    await asyncio.sleep(0)
    assert done == [(TOPIC, None)] * 2
    await letters.close()


async def test_late_letters_that_fail_are_sent_again() -> None:
    post, done = FakePost(), list[tuple[str, str | None]]()
    target = f"{TOPIC}.dead"
    post.slow, post.broken = {target: asyncio.Event()}, {target}
    letters = Letters(post, FakeLedger(), 0.01, lambda *those: done.append(those))
    piece = Slice(lease(), 0, 1, letters=[letter(0)])
    await letters.send([piece])
    post.slow.pop(target).set()
    await asyncio.sleep(0.01)
    post.broken = set()
    assert await letters.send([piece]) == {}
    assert done == [(TOPIC, f"{target}: not acknowledged")]
    assert len(post.delivered[target]) == 1


async def test_a_defect_among_letters_is_its_pipelines_trouble() -> None:
    post = FakePost()

    async def fail(topic: str, mail: Sequence[Mail]) -> None:
        raise ZeroDivisionError

    post.deliver = fail  # type: ignore[method-assign]
    failed = await Letters(post, FakeLedger(), 1, print).send(
        [Slice(lease(), 0, 1, letters=[letter(0)])]
    )
    assert failed == {TOPIC: "a defect of ARGUS: ZeroDivisionError()"}


@pytest.mark.parametrize("when", ["within its patience", "later"])
async def test_what_is_on_its_way_is_given_up_at_the_end(when: str) -> None:
    post = FakePost()
    post.slow = {f"{TOPIC}.dead": asyncio.Event()}
    letters = Letters(post, FakeLedger(), 60 if when == "within its patience" else 0.001, print)
    sending = asyncio.create_task(letters.send([Slice(lease(), 0, 1, letters=[letter(0)])]))
    await asyncio.sleep(0.02)
    sending.cancel()
    await asyncio.wait({sending})
    await letters.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("letters")] == []
