"""The ledger as people see it, from real books."""

import json

import pytest
from argus_cli.accounting import ledger
from argus_cli.ledger import Verdict
from argus_cli.scope import Name, Scope
from argus_cli.settings import Settings
from argus_contract.names import TopicName
from argus_contract.rejects import Code
from rich.console import Console

from tests.integration.cli.conftest import Printed
from tests.integration.stream.world import World, event, reject


async def shown(
    settings: Settings,
    console: Console,
    scope: Scope,
    *,
    partitions: bool = False,
    audit: bool = False,
    as_json: bool = False,
) -> Verdict:
    return await ledger(
        settings, console, scope, partitions=partitions, audit=audit, as_json=as_json
    )


async def test_a_pipeline_is_shown_with_its_dead_letters_by_reason(
    world: World,
    settings: Settings,
    console: Console,
    printed: Printed,
    capsys: pytest.CaptureFixture[str],
) -> None:
    web = await world.add_pipeline("web", partitions=2)
    await world.add_pipeline("api")
    mistakes = [reject(Code.TOO_DEEP, b"["), reject(Code.INVALID_EVENT, b"{}")]
    await world.produce(web, [event(), event(), *mistakes, reject(Code.TOO_DEEP, b"[[")])
    async with world.stream():
        await world.settled(web, 5)
    scope = Scope(pipeline=Name(world.namespace, "web"))

    assert await shown(settings, console, scope) is Verdict.BALANCED
    assert await shown(settings, console, scope, partitions=True) is Verdict.BALANCED
    assert await shown(settings, console, scope, audit=True) is Verdict.BALANCED
    text = printed()
    assert f"{world.namespace}/web" in text
    assert f"{world.namespace}/api" not in text
    assert "too_deep 2" in text
    assert "letters in the topic = recorded, within retention" in text

    await shown(settings, console, scope, audit=True, as_json=True)
    [pipeline] = json.loads(capsys.readouterr().out)["pipelines"]
    assert (pipeline["stored"], pipeline["dead_lettered"]) == (2, 3)
    assert pipeline["dead_lettered_by_reason"] == {"too_deep": 2, "invalid_event": 1}
    assert [one["partition"] for one in pipeline["partitions"]] == [0, 1]
    assert all(check["holds"] for check in pipeline["audit"])


async def test_letters_are_counted_in_a_topic_that_another_named(
    world: World, settings: Settings, console: Console
) -> None:
    letters = TopicName(f"letters-of-{world.namespace}")
    web = await world.add_pipeline("web", letters=letters)
    await world.produce(web, [event(), reject(Code.TOO_DEEP, b"[")])
    async with world.stream():
        await world.settled(web, 2)

    scope = Scope(pipeline=Name(world.namespace, "web"))
    assert await shown(settings, console, scope, audit=True) is Verdict.BALANCED


async def test_what_is_unread_is_in_flight_and_a_missing_row_unbalanced(
    world: World, settings: Settings, console: Console
) -> None:
    web = await world.add_pipeline("web")
    await world.produce(web, [event(), event()])
    scope = Scope(tenant=Name(world.namespace, "shop"))

    assert await shown(settings, console, scope) is Verdict.BEHIND
    async with world.stream():
        await world.settled(web, 2)
    await world.sql.execute(f"delete from {web.schema}.{web.table} where source_offset = 0")

    assert await shown(settings, console, scope) is Verdict.BALANCED
    assert await shown(settings, console, scope, audit=True) is Verdict.UNBALANCED


async def test_a_pipeline_that_does_not_exist_is_said(
    world: World, settings: Settings, console: Console, printed: Printed
) -> None:
    scope = Scope(tenant=Name("nobody", "shop"))

    assert await shown(settings, console, scope) is Verdict.BALANCED
    assert "There is no such pipeline" in printed()
