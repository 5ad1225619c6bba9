"""JSON Schemas of events: what can be applied reaches the stream, what cannot changes nothing."""

from typing import Any

import pytest
from argus_contract.registry import EventSchema, Validation
from argus_operator.models.pipeline import PLURAL as PIPELINES

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import WEB

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

GOOD = {"type": "object", "properties": {"age": {"type": "integer"}}}
GOOD_TEXT = '{"properties":{"age":{"type":"integer"}},"type":"object"}'
BAD = {"properties": {"age": {"type": "int"}}}
PLACE = "spec.validation.schemas[1].jsonSchema/properties/age/type: 'int' is none of"


def schemas(**by_event: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [{"event": name, "jsonSchema": found} for name, found in by_event.items()]}


async def message(stage: Stage, type_: str) -> str:
    found = await stage.object(PIPELINES, WEB)
    assert found is not None
    (said,) = (c["message"] for c in found["status"]["conditions"] if c["type"] == type_)
    return str(said)


class TestEventSchemas:
    async def test_they_reach_the_registry_and_leave_it(self, running: Stage) -> None:
        await running.pipeline(validation=schemas(signup=GOOD))
        await running.settle()
        (told,) = (await running.document()).pipelines
        assert told.validation == Validation(True, (EventSchema("signup", GOOD_TEXT),))

        await running.pipeline(validation=schemas(signup=GOOD) | {"mode": "observe"})
        await running.settle()
        (told,) = (await running.document()).pipelines
        assert told.validation == Validation(False, (EventSchema("signup", GOOD_TEXT),))

        await running.pipeline()
        await running.settle()
        (told,) = (await running.document()).pipelines
        assert told.validation is None

    async def test_one_that_cannot_be_applied_leaves_the_spec_before_in_force(
        self, running: Stage
    ) -> None:
        await running.pipeline(validation=schemas(signup=GOOD))
        await running.settle()
        before = await running.document()

        await running.pipeline(match=["click"], validation=schemas(login=GOOD, signup=BAD))
        await running.settle()
        assert await running.document() == before
        assert await running.condition(PIPELINES, WEB, "Synced") == ("False", "InvalidSpec")
        assert await running.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert (await message(running, "Synced")).startswith(PLACE)

        await running.pipeline(validation=schemas(login=GOOD, signup=GOOD))
        await running.settle()
        (told,) = (await running.document()).pipelines
        assert told.validation is not None
        assert [item.event for item in told.validation.schemas] == ["login", "signup"]
        assert await running.condition(PIPELINES, WEB, "Synced") == ("True", "Applied")

    async def test_a_pipeline_that_never_had_a_good_one_is_not_ready(self, stage: Stage) -> None:
        await stage.tenant()
        await stage.pipeline(validation=schemas(login=GOOD, signup=BAD))
        await stage.settle()
        assert (await stage.document()).pipelines == ()
        assert await stage.condition(PIPELINES, WEB) == ("False", "InvalidSpec")
        assert (await message(stage, "Ready")).startswith(PLACE)
        assert "InvalidSpec" in await stage.events(WEB)

        await stage.pipeline(validation=schemas(login=GOOD, signup=GOOD))
        await stage.settle()
        assert await stage.condition(PIPELINES, WEB) == ("True", "Accepting")
        assert [item.name for item in (await stage.document()).pipelines] == [WEB]
