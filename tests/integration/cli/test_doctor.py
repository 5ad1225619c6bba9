"""The doctor against real engines, and with each of them away, silent, or strange to us."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from argus_cli.doctor import database, edge, findings, kafka, redis
from argus_cli.doctor.examination import examined
from argus_cli.doctor.findings import Finding, State
from argus_cli.settings import Settings
from argus_runtime.settings import KafkaSecurity
from pydantic import SecretStr

from tests.integration.stream.world import World, event

LIMIT_S = 2.0
REFUSED = "127.0.0.1:1"
"""Nobody listens there."""


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """An address that takes connections and never says a word."""

    async def hush(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hush, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}"


def by_subject(found: list[Finding]) -> dict[str, Finding]:
    return {one.subject: one for one in found}


async def asked(settings: Settings, **changes: object) -> dict[str, Finding]:
    return by_subject(await examined(settings.model_copy(update=changes), LIMIT_S))


def assert_others_well(found: dict[str, Finding], *ill: str) -> None:
    for subject in (kafka.SUBJECT, redis.SUBJECT, database.SUBJECT):
        if subject not in ill:
            assert found[subject].state is State.WELL, found[subject]


async def test_engines_that_are_well_are_found_well(world: World, settings: Settings) -> None:
    pipeline = await world.add_pipeline("web", partitions=2)
    async with world.stream():
        await world.produce(pipeline, [event()])
        await world.settled(pipeline, 1)
        found = await asked(settings)

    for subject in (
        kafka.SUBJECT,
        kafka.TOPICS,
        redis.SUBJECT,
        database.SUBJECT,
        database.TIMESCALE,
        database.SCHEMA,
        database.STREAM,
    ):
        assert found[subject].state is State.WELL, found[subject]
    assert "all 2 are there" in found[kafka.TOPICS].said


async def test_a_topic_that_is_gone_is_named(world: World, settings: Settings) -> None:
    pipeline = await world.add_pipeline("web")
    absent = pipeline.topic + "x"
    world.pipelines["web"] = type(pipeline)(
        **{name: getattr(pipeline, name) for name in pipeline.__struct_fields__} | {"topic": absent}
    )
    await world.publish()

    found = await asked(settings)

    assert found[kafka.TOPICS].state is State.WRONG
    assert absent in found[kafka.TOPICS].said


async def test_a_registry_that_nobody_confirms_is_named(world: World, settings: Settings) -> None:
    await world.add_pipeline("web")  # its marker's revision is no time of today

    found = await asked(settings)

    assert found[kafka.REGISTRY].state is State.WRONG
    assert "last confirmed" in found[kafka.REGISTRY].said
    assert "operator" in found[kafka.REGISTRY].advice


@pytest.mark.parametrize(
    ("subject", "changes", "said"),
    [
        (kafka.SUBJECT, {"kafka": REFUSED}, "nothing listens at 127.0.0.1:1"),
        (redis.SUBJECT, {"redis_url": SecretStr(f"redis://{REFUSED}/0")}, "nothing listens at"),
        (
            database.SUBJECT,
            {"database_url": SecretStr(f"postgresql://x:y@{REFUSED}/argus")},
            "nothing listens at",
        ),
    ],
)
async def test_an_engine_that_is_away_is_named_and_hides_no_other(
    settings: Settings, subject: str, changes: dict[str, object], said: str
) -> None:
    found = await asked(settings, **changes)

    assert found[subject].state is State.WRONG
    assert said in found[subject].said
    assert found[subject].advice
    assert_others_well(found, subject)


async def test_engines_that_are_silent_are_named_in_time(settings: Settings, silent: str) -> None:
    began = time.monotonic()

    found = await asked(
        settings,
        url=f"http://{silent}",
        kafka=silent,
        redis_url=SecretStr(f"redis://{silent}/0"),
        database_url=SecretStr(f"postgresql://x:y@{silent}/argus?sslmode=disable"),
    )

    assert time.monotonic() - began < 4 * LIMIT_S
    for subject in (edge.SUBJECT, kafka.SUBJECT, redis.SUBJECT, database.SUBJECT):
        assert found[subject].state is State.WRONG
        assert "does not answer in time" in found[subject].said, found[subject]


async def test_a_wrong_password_is_called_by_its_name(settings: Settings, world: World) -> None:
    address = world.database.rpartition("@")[2]
    redis_address = world.redis_url.rpartition("@")[2]

    found = await asked(
        settings,
        redis_url=SecretStr(f"redis://:wrong@{redis_address}"),
        database_url=SecretStr(f"postgresql://argus_reader:wrong@{address}"),
    )

    assert "refuses the password" in found[redis.SUBJECT].said
    assert "refuses the user or the password" in found[database.SUBJECT].said
    assert "wrong" not in found[database.SUBJECT].said.replace("wrong password", "")
    assert found[kafka.SUBJECT].state is State.WELL


async def test_a_broker_that_wants_no_user_is_told(settings: Settings) -> None:
    found = await asked(
        settings,
        kafka_username="argus",
        kafka_password=SecretStr("x"),
        kafka_security=KafkaSecurity.SASL_PLAINTEXT,
    )

    assert found[kafka.SUBJECT].state is State.WRONG
    assert "ARGUS_KAFKA_USERNAME" in found[kafka.SUBJECT].advice
    assert_others_well(found, kafka.SUBJECT)


async def test_a_broker_at_an_address_that_does_not_exist_is_told(
    settings: Settings, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = kafka._ask

    async def elsewhere(address: str, *rest: object) -> list[str]:
        if address == world.bootstrap:
            return [REFUSED]
        return await ask(address, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kafka, "_ask", elsewhere)

    found = await asked(settings)

    assert f"calls a broker {REFUSED}" in found[kafka.SUBJECT].said
    assert found[kafka.TOPICS].state is State.UNASKED


async def test_a_database_without_argus_is_told(settings: Settings, world: World) -> None:
    address = world.database.rpartition("/")[0]

    found = await asked(settings, database_url=SecretStr(f"{address}/postgres"))

    assert found[database.SUBJECT].state is State.WELL
    assert found[database.SCHEMA].state is State.WRONG
    assert "operator" in found[database.SCHEMA].advice


async def test_no_stream_is_told(settings: Settings, world: World) -> None:
    await world.sql.execute("delete from argus.members")

    found = await asked(settings)

    assert found[database.STREAM].state is State.WRONG


@pytest.mark.parametrize(
    ("status", "body", "subject", "state", "said"),
    [
        (422, {"accepted": 0}, edge.KEY, State.WELL, "accepted"),
        (429, {"title": "slow"}, edge.KEY, State.WELL, "accepted"),
        (401, {"title": "unknown"}, edge.KEY, State.WRONG, "no tenant has it"),
        (403, {"detail": "the tenant is suspended"}, edge.KEY, State.WRONG, "suspended"),
        (503, {"detail": "no broker"}, edge.SUBJECT, State.WRONG, "no broker"),
        (500, {"detail": "defect"}, edge.SUBJECT, State.WRONG, "500 defect"),
    ],
)
async def test_what_ingest_says_to_an_empty_batch_is_told(
    status: int, body: dict[str, object], subject: str, state: State, said: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.content == b"[]"
        return httpx.Response(status, json=body)

    settings = Settings(api_key=SecretStr("argus_public_x"))
    async with httpx.AsyncClient(
        base_url="http://argus", transport=httpx.MockTransport(answer)
    ) as http:
        finding = await edge._key(http, settings)

    assert (finding.subject, finding.state) == (subject, state)
    assert said in finding.said
    assert findings.as_document([finding])["well"] is (state is State.WELL)
