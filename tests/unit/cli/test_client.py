import asyncio

import httpx
import pytest
from argus_cli.client import Client, parse
from argus_cli.tally import Rejection, Request

REQUEST = Request(b'{"event":"a"}', "application/json", "192.0.2.1", ("a",))


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return taken


def client(*answers: httpx.Response | Exception) -> tuple[Client, list[httpx.Request]]:
    pending, seen = list(answers), list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        given = pending.pop(0) if len(pending) > 1 else pending[0]
        if isinstance(given, Exception):
            raise given
        return given

    return Client("http://argus", "a-key", transport=httpx.MockTransport(answer)), seen


def test_an_acknowledgement_says_what_was_accepted_and_what_was_refused() -> None:
    body = b'{"accepted":7,"rejected":[{"index":2,"code":"invalid_event","message":"no url"}]}'

    answer = parse(202, {}, body)

    assert answer.acknowledged == 8
    assert answer.rejected == (Rejection(2, "invalid_event", "no url"),)


def test_a_problem_document_says_why() -> None:
    answer = parse(429, {"retry-after": "3"}, b'{"title":"Too many","detail":"5,000 events/s"}')

    assert (answer.acknowledged, answer.detail, answer.retry_after) == (0, "5,000 events/s", 3.0)


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"\xff\xfe"])
def test_an_answer_that_is_not_of_argus_acknowledges_nothing(body: bytes) -> None:
    assert parse(502, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, body).acknowledged == 0


async def test_key_and_address_go_with_the_request() -> None:
    sender, seen = client(httpx.Response(202, json={"accepted": 1, "rejected": []}))

    async with sender:
        await sender.send(REQUEST)

    assert seen[0].url == "http://argus/v1/events"
    assert seen[0].headers["authorization"] == "Bearer a-key"
    assert seen[0].headers["x-forwarded-for"] == "192.0.2.1"
    assert seen[0].content == REQUEST.body


async def test_a_refusal_for_now_is_tried_again_after_the_wait_it_names(naps: list[float]) -> None:
    sender, seen = client(
        httpx.Response(503, headers={"retry-after": "2"}),
        httpx.ConnectError("refused"),
        httpx.Response(202, json={"accepted": 1, "rejected": []}),
    )

    async with sender:
        answer = await sender.send(REQUEST)

    assert (answer.acknowledged, answer.attempts, len(seen)) == (1, 3, 3)
    assert naps[0] == 2.0
    assert seen[0].content == seen[2].content


async def test_a_final_answer_is_not_tried_again(naps: list[float]) -> None:
    sender, seen = client(httpx.Response(401, json={"title": "Unknown key"}))

    async with sender:
        answer = await sender.send(REQUEST)

    assert (answer.status, answer.attempts, len(seen)) == (401, 1, 1)
    assert naps == []


async def test_patience_ends(naps: list[float]) -> None:
    sender, seen = client(httpx.ConnectError("refused"))

    async with sender:
        answer = await sender.send(REQUEST)

    assert (answer.status, answer.attempts) == (0, len(seen))
    assert "refused" in answer.detail
    assert max(naps) <= 10
