"""What the README promises a newcomer: apply, post, look."""

import asyncio
import time
import uuid

import pytest
from argus_cli.letters import Letter
from argus_cli.live import Live
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_contract import headers
from argus_contract.names import dead_letter_topic

from tests.e2e import tenants
from tests.e2e.conftest import Connection
from tests.e2e.kubectl import kubectl
from tests.e2e.tenants import Tenant, page_view

DEMO = "examples/demo.yaml"
SOON_S = 2.0
"""The issue's promise: from the 202 to the row."""


@pytest.fixture(scope="module")
def demo(url: str) -> Tenant:
    """The tenant of the example, applied and Ready."""
    kubectl("apply", "-f", DEMO)
    tenants.wait_ready("argus-demo", "shop", "web")
    return tenants.existing(url, "argus-demo", "shop", "web")


async def test_an_event_is_a_row_and_a_live_count_within_two_seconds(
    demo: Tenant, reader: Connection, live: Live
) -> None:
    marked = f"smoke-{uuid.uuid4().hex[:8]}"
    event_id = str(uuid.uuid4())

    answer = demo.post({"event": marked, "id": event_id, "value": 4.5, "properties": {"a": [1]}})
    acknowledged = time.monotonic()
    second = int(time.time())

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    query = f"select event, value, properties::text from {demo.rows} where id = $1"
    row = None
    while row is None and time.monotonic() < acknowledged + SOON_S:
        row = await reader.fetchrow(query, event_id)
        await asyncio.sleep(0.05)
    assert row is not None, f"no row within {SOON_S} s"
    assert tuple(row) == (marked, 4.5, '{"a": [1]}')
    counted: dict[str, int] = {}
    while marked not in counted and time.monotonic() < acknowledged + SOON_S:
        counted = await live.counted(demo.id, ("web",), range(second - 3, second + 2))
        await asyncio.sleep(0.05)
    assert counted.get(marked) == 1, f"not counted live within {SOON_S} s"


async def test_a_malformed_event_is_a_dead_letter_with_its_reason_and_its_bytes(
    demo: Tenant, log: Log, reader: Connection
) -> None:
    mark = uuid.uuid4().hex
    body = f'{{"event":"page_view","properties":{{"title":"{mark}"}}}}'.encode()

    answer = demo.post([page_view(), {"event": "page_view", "properties": {"title": mark}}])
    assert answer.status_code == 202, answer.text
    assert [one["code"] for one in answer.json()["rejected"]] == ["invalid_event"]

    found: list[Letter] = []
    deadline = time.monotonic() + 5
    while not found and time.monotonic() < deadline:
        letters, _ = await log.latest(dead_letter_topic(demo.topic))
        found = [one async for one in letters if mark.encode() in one.value]
    [letter] = found
    assert letter.reason == "invalid_event"
    assert letter.value.replace(b" ", b"") == body
    assert letter.key.topic == demo.topic
    recorded = None
    while recorded is None and time.monotonic() < deadline:
        recorded = await reader.fetchval(
            "select code from argus.dead_letters where topic = $1 and partition = $2"
            " and source_offset = $3",
            *letter.key,
        )
    assert recorded == "invalid_event"
    assert headers.letter_key(*letter.key).decode() == str(letter.key)


def test_make_env_gives_the_key_of_the_example(settings: Settings, demo: Tenant) -> None:
    assert settings.require_api_key() == demo.key
