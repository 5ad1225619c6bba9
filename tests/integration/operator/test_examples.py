"""Every file of examples/ is taken by the API server, and comes to what its header says."""

import asyncio
import json
from typing import Any

import pytest

from tests import examples
from tests.examples import PLURALS, Example, Expectation
from tests.integration.operator.kubelet import REPORT, Kubelet
from tests.integration.operator.process import RESOURCES, Operator

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

BY_NAME = {kind.lower(): plural for kind, plural in PLURALS.items()}
CONVERGES_S = 60.0


async def put(operator: Operator, found: dict[str, Any]) -> None:
    """Creates an object, unless there is one of that name: an example may need another one."""
    meta = found["metadata"]
    if found["kind"] == "Namespace":
        path = "api/v1/namespaces"
    else:
        path = f"{RESOURCES}/namespaces/{meta['namespace']}/{PLURALS[found['kind']]}"
    if await operator.kubernetes.found(f"{path}/{meta['name']}") is None:
        await operator.kubernetes.call("POST", path, found)


async def apply(operator: Operator, example: Example) -> None:
    """Creates what the example needs, and then its objects."""
    for needed in example.needs:
        await apply(operator, examples.load(needed))
    for found in example.objects:
        await put(operator, found)


async def run_replays(operator: Operator, example: Example) -> None:
    """Does what Kubernetes would do for the Jobs of the example's replays."""
    for found in example.resources:
        if found["kind"] == "ArgusReplay":
            kubelet = Kubelet(operator, found["metadata"]["namespace"])
            job = await kubelet.job(found["metadata"]["name"], CONVERGES_S)
            await kubelet.run(job)
            await kubelet.end(job["metadata"]["name"], json.dumps(REPORT))
            await kubelet.complete(job["metadata"]["name"])


async def is_as_expected(
    operator: Operator, namespace: str, expected: Expectation
) -> dict[str, Any]:
    """The condition, once it has the reason that the header names."""
    found = await operator.wait(
        BY_NAME[expected.kind],
        namespace,
        expected.name,
        expected.reason,
        expected.condition,
        CONVERGES_S,
    )
    conditions: list[dict[str, Any]] = found["status"]["conditions"]
    (condition,) = (item for item in conditions if item["type"] == expected.condition)
    return condition


@pytest.mark.parametrize("file", examples.FILES)
async def test_an_example_comes_to_what_its_header_says(operator: Operator, file: str) -> None:
    example = examples.load(file)
    namespace = example.resources[0]["metadata"]["namespace"]
    await apply(operator, example)
    await run_replays(operator, example)
    found = await asyncio.gather(
        *(is_as_expected(operator, namespace, expected) for expected in example.expectations)
    )

    told = [(item["type"], item["status"], item["reason"]) for item in found]
    assert told == [(e.condition, e.status, e.reason) for e in example.expectations]


@pytest.mark.parametrize("file", examples.FILES)
async def test_an_example_is_stored_as_it_is_written(operator: Operator, file: str) -> None:
    """A field that the definitions do not know would be pruned without a word."""
    example = examples.load(file)
    await apply(operator, example)
    for written in example.resources:
        meta = written["metadata"]
        path = f"{RESOURCES}/namespaces/{meta['namespace']}/{PLURALS[written['kind']]}"
        stored = await operator.kubernetes.call("GET", f"{path}/{meta['name']}")

        assert written["spec"].items() <= merged(stored["spec"], written["spec"]).items()


def merged(stored: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """What is stored, without the defaults that were added."""
    return {
        name: merged(value, written[name]) if isinstance(value, dict) else value
        for name, value in stored.items()
        if name in written
    }
