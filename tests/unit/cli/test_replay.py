import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from argus_cli import replay
from argus_cli.letters import Key, Letter
from argus_cli.replay import Counts, Fate, Options, Outcome, Replayer, Standing, decide
from argus_contract import headers
from argus_contract.records import Record
from argus_contract.rejects import Code, Step

from tests.unit.cli.dead_letters import NOW, PIPELINE, TOPIC, letter, wrapped

STORED = Standing(2, Outcome.STORED)
REFUSED = Standing(2, Outcome.DEAD_LETTERED)
QUICK = Options(rate=0, wait=0.2)


class Stream:
    """What the log holds and SQL knows; settles what is published after `lag` looks."""

    def __init__(self, outcome: Outcome | None = Outcome.STORED, lag: int = 0) -> None:
        self.outcome = outcome
        self.lag = lag
        self.settled: dict[str, Standing] = {}
        self.published: list[Record] = []
        self.unsettled: list[tuple[str, int]] = []
        self.most_unsettled = 0
        self.batches: list[int] = []
        self.times: list[float] = []

    async def standings(self, roots: Sequence[str]) -> Mapping[str, Standing]:
        if self.lag:
            self.lag -= 1
        elif self.outcome is not None:
            for root, attempt in self.unsettled:
                self.settled[root] = Standing(attempt, self.outcome)
            self.unsettled.clear()
        return {root: self.settled[root] for root in roots if root in self.settled}

    async def publish(self, topic: str, records: Sequence[Record]) -> None:
        assert topic == TOPIC
        self.times.append(asyncio.get_running_loop().time())
        self.batches.append(len(records))
        for record in records:
            root = headers.get(record.headers, headers.REPLAY_OF)
            attempt = headers.get(record.headers, headers.ATTEMPT)
            assert root is not None
            assert attempt is not None
            self.unsettled.append((root.decode(), int(attempt)))
            self.published.append(record)
        self.most_unsettled = max(self.most_unsettled, len(self.unsettled))


async def every(letters: Sequence[Letter]) -> AsyncIterator[Letter]:
    for one in letters:
        yield one


def fresh(count: int) -> list[Letter]:
    """Letters that pass."""
    value = wrapped(NOW)
    return [letter(value, step=Step.DECODE, offset=number) for number in range(count)]


def hopeless(offset: int) -> Letter:
    return letter(b"{", reason=Code.INVALID_JSON, offset=offset)


def replayer(stream: Stream, options: Options) -> Replayer:
    return Replayer(PIPELINE, stream, stream, options, clock=lambda: NOW)


def fate(one: Letter, standing: Standing | None, options: Options = QUICK) -> Fate:
    return decide(one, standing, PIPELINE, NOW, options).fate


def test_a_letter_that_would_pass_is_due_as_the_second_attempt() -> None:
    decision = decide(letter(wrapped(NOW), step=Step.DECODE), None, PIPELINE, NOW, QUICK)

    assert (decision.fate, decision.attempt) == (Fate.DUE, 2)


@pytest.mark.parametrize("outcome", [Outcome.STORED, Outcome.DUPLICATE])
def test_what_is_among_the_rows_is_settled_for_ever(outcome: Outcome) -> None:
    one = letter(wrapped(NOW), step=Step.DECODE)
    options = Options(again=True, unchecked=True)

    assert fate(one, Standing(2, outcome), options) is Fate.SETTLED


def test_what_was_refused_again_is_tried_only_if_asked() -> None:
    one = letter(wrapped(NOW), step=Step.DECODE)
    second = letter(
        wrapped(NOW), step=Step.DECODE, offset=9, attempt=b"2", root=f"{TOPIC}/0/7".encode()
    )

    assert fate(one, REFUSED) is Fate.SKIPPED
    assert fate(second, None) is Fate.SKIPPED
    again = decide(second, REFUSED, PIPELINE, NOW, Options(again=True))
    assert (again.fate, again.attempt) == (Fate.DUE, 3)


def test_what_would_be_refused_is_published_only_unchecked() -> None:
    assert fate(hopeless(1), None) is Fate.REFUSED
    assert fate(hopeless(1), None, Options(unchecked=True)) is Fate.DUE


def test_what_was_cut_is_not_published_at_all() -> None:
    cut = letter(b"{", reason=Code.TOO_LARGE, truncated=b"9")

    assert fate(cut, None, Options(unchecked=True, again=True)) is Fate.REFUSED


@pytest.mark.parametrize("standing", [None, STORED, REFUSED])
@pytest.mark.parametrize(
    "one",
    [
        letter(wrapped(NOW), step=Step.DECODE, root=b"argus.shop.app.9c210f3a/0/7"),
        replace(letter(wrapped(NOW), step=Step.DECODE), key=Key("argus.shop.app.9c210f3a", 0, 7)),
    ],
)
def test_a_letter_of_another_pipelines_topic_is_never_published(
    one: Letter, standing: Standing | None
) -> None:
    decision = decide(one, standing, PIPELINE, NOW, Options(unchecked=True, again=True))

    assert decision.fate is Fate.REFUSED
    assert decision.judgement is not None
    assert decision.judgement.record is None
    assert "another topic" in decision.judgement.message


async def test_what_has_no_reason_is_counted_all_the_same() -> None:
    counts = await replayer(Stream(), QUICK).run(every([letter(b"{}", reason="", truncated=b"9")]))

    assert (counts.matched, counts.refused) == (1, {"refused": 1})


async def test_what_is_published_unchecked_is_told_apart_from_what_cannot_be() -> None:
    cut = letter(b"{", reason=Code.TOO_LARGE, truncated=b"9", offset=1)

    counts = await replayer(Stream(), replace(QUICK, unchecked=True)).run(every([hopeless(0), cut]))

    assert counts.refused == {"invalid_json": 1, "too_large": 1}
    assert counts.unchecked == {"invalid_json": 1}
    total = Counts()
    total.add(counts)
    assert total.unchecked == counts.unchecked


async def test_a_run_publishes_what_passes_and_says_what_became_of_it() -> None:
    stream = Stream()
    stream.settled[f"{TOPIC}/0/0"] = STORED
    stream.settled[f"{TOPIC}/0/1"] = REFUSED

    counts = await replayer(stream, QUICK).run(every([*fresh(5), hopeless(5), hopeless(6)]))

    assert len(stream.published) == 3
    assert counts == Counts(
        matched=7,
        passing=3,
        replayed=3,
        stored=3,
        settled=1,
        skipped=1,
        refused=counts.refused,
    )
    assert counts.refused == {"invalid_json": 2}
    assert counts.unsettled == 0


async def test_a_second_run_publishes_nothing() -> None:
    stream = Stream()
    letters = fresh(20)
    await replayer(stream, QUICK).run(every(letters))

    counts = await replayer(stream, QUICK).run(every(letters))

    assert len(stream.published) == 20
    assert (counts.replayed, counts.settled) == (0, 20)


async def test_a_plan_publishes_nothing() -> None:
    stream = Stream()

    counts = await replayer(stream, QUICK).plan(every([*fresh(3), hopeless(9)]))

    assert stream.published == []
    assert (counts.matched, counts.passing, counts.replayed) == (4, 3, 0)


async def test_unchecked_what_is_published_is_still_counted_as_refused() -> None:
    stream = Stream(Outcome.DEAD_LETTERED)
    options = Options(rate=0, wait=0.2, unchecked=True)

    counts = await replayer(stream, options).run(every([hopeless(1)]))

    assert (counts.replayed, counts.failed, counts.refused.total()) == (1, 1, 1)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_is_counted(outcome: Outcome) -> None:
    stream = Stream(outcome)

    counts = await replayer(stream, QUICK).run(every(fresh(4)))

    assert counts.unsettled == 0
    assert {
        Outcome.STORED: counts.stored,
        Outcome.DUPLICATE: counts.duplicate,
        Outcome.DEAD_LETTERED: counts.failed,
    }[outcome] == 4


async def test_a_stream_that_stands_still_is_not_waited_for_without_end() -> None:
    stream = Stream(outcome=None)

    counts = await replayer(stream, QUICK).run(every(fresh(3)))

    assert (counts.replayed, counts.unsettled) == (3, 3)


async def test_a_stream_that_stands_still_is_not_given_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "UNSETTLED", 1_000)
    stream = Stream(outcome=None)

    counts = await replayer(stream, QUICK).run(every(fresh(3_000)))

    assert stream.most_unsettled <= 1_000
    assert counts.unsettled == len(stream.published) <= 1_000


async def test_a_slow_stream_is_given_as_much_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "UNSETTLED", 1_000)
    monkeypatch.setattr(replay, "_LOOK_S", 0.01)
    stream = Stream(lag=12)

    counts = await replayer(stream, QUICK).run(every(fresh(3_000)))

    assert stream.most_unsettled <= 1_000
    assert counts.stored == 3_000


async def test_time_in_which_nothing_was_due_is_not_caught_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "CHUNK", 5)
    stream = Stream()

    async def late() -> AsyncIterator[Letter]:
        await asyncio.sleep(0.4)
        for one in fresh(20):
            yield one

    await replayer(stream, Options(rate=50, wait=1)).run(late())

    assert stream.batches == [5, 5, 5, 5]
    assert stream.times[-1] - stream.times[0] > 0.25


async def test_the_rate_is_kept_and_no_burst_is_longer_than_a_second() -> None:
    stream = Stream()
    began = asyncio.get_running_loop().time()

    await replayer(stream, Options(rate=20, wait=1)).run(every(fresh(50)))

    assert stream.batches == [20, 20, 10]
    for sent, at in zip((0, 20, 40), stream.times, strict=True):
        assert at - began >= sent / 20


async def test_a_root_that_another_run_settled_meanwhile_counts_as_settled() -> None:
    stream = Stream(outcome=None)
    run = asyncio.create_task(replayer(stream, Options(rate=0, wait=5)).run(every(fresh(1))))
    await asyncio.sleep(0.1)
    assert stream.published
    stream.settled[f"{TOPIC}/0/0"] = Standing(1, Outcome.DUPLICATE)

    assert (await run).duplicate == 1
