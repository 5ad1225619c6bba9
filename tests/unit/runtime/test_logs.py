"""A log line is one JSON object with its fields; an exception stays on its line."""

import asyncio
import json
import logging

import pytest
from argus_runtime import logs
from argus_runtime.settings import LogFormat, LogSettings


@pytest.fixture(autouse=True)
def _restored_logging() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(), "stream")
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        logging.getLogger("x").exception("went wrong", extra={"tenant": "ns/shop", "n": 3})
    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert logged["message"] == "went wrong"
    assert (logged["component"], logged["level"], logged["logger"]) == ("stream", "error", "x")
    assert (logged["tenant"], logged["n"]) == ("ns/shop", 3)
    assert "ValueError: broken" in logged["exception"]


def test_text_shows_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format=LogFormat.TEXT), "stream")
    logging.getLogger("x").info("hello", extra={"tenant": "ns/shop"})
    assert "x: hello tenant=ns/shop" in capsys.readouterr().err


def test_less_severe_records_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="WARNING"), "stream")
    logging.getLogger("x").info("hello")
    assert capsys.readouterr().err == ""


def test_a_client_library_that_repeats_itself_is_heard_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogSettings(), "stream")
    for name in ("aiokafka.conn", "argus_stream"):
        for _ in range(5):
            logging.getLogger(name).warning("broker %s is away", 1)
    logged = [json.loads(line)["logger"] for line in capsys.readouterr().err.splitlines()]
    assert logged == ["aiokafka.conn"] + ["argus_stream"] * 5


async def test_what_is_bound_is_in_every_line_of_the_block_and_of_its_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogSettings(), "operator")
    logger = logging.getLogger("x")

    async def step() -> None:
        logger.info("task")

    with logs.bound(tenant="ns/shop"):
        with logs.bound(pipeline="web"):
            task = asyncio.create_task(step())
        logger.info("block")
        logger.info("own", extra={"tenant": "ns/other"})
        await task
    logger.info("after")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    found = {line["message"]: (line.get("tenant"), line.get("pipeline")) for line in lines}
    assert found == {
        "task": ("ns/shop", "web"),
        "block": ("ns/shop", None),
        "own": ("ns/other", None),
        "after": (None, None),
    }
