"""What is read of an object: a spec, or why it is not understood."""

from typing import Any

import pytest
from argus_contract.event_schemas import MAX_SCHEMA
from argus_operator.resources import Pipeline


def parsed(*schemas: dict[str, Any], going: bool = False, **spec: Any) -> Pipeline:
    items = [{"event": f"e{n}", "jsonSchema": found} for n, found in enumerate(schemas)]
    metadata = {
        "name": "web",
        "namespace": "ns",
        "uid": "0badcafe",
        "creationTimestamp": "2026-05-01T12:00:00Z",
    }
    if going:
        metadata["deletionTimestamp"] = "2026-05-02T12:00:00Z"
    whole = {"tenantRef": {"name": "shop"}, "validation": {"schemas": items}} | spec
    return Pipeline.parse({"metadata": metadata, "spec": whole})


def test_each_schema_that_cannot_be_applied_is_named_with_its_place() -> None:
    found = parsed({"type": "strin"}, {}, {"not": {"minimum": "0"}})

    assert found.spec is None
    assert found.problem is not None
    first, second = found.problem.split("; ")
    assert first.startswith("spec.validation.schemas[0].jsonSchema/type: ")
    assert second.startswith("spec.validation.schemas[2].jsonSchema/not/minimum: ")


def test_schemas_that_can_be_applied_are_no_problem() -> None:
    found = parsed({"type": "object"}, {"required": ["plan"]})

    assert found.problem is None
    assert found.spec is not None
    assert len(found.spec.validation.schemas) == 2


def test_many_that_cannot_be_applied_fit_into_a_condition() -> None:
    names = ["x" * 200] * 64
    found = parsed(*({"properties": {name: {"type": name}}} for name in names))

    assert found.problem is not None
    assert found.problem.endswith("; and 59 more")
    assert len(found.problem) < 4_000


def test_what_is_deleted_keeps_the_policy_that_its_schemas_do_not_touch() -> None:
    bad = {"type": "strin"}

    assert parsed(bad, deletionPolicy="Delete").retains
    assert not parsed(bad, deletionPolicy="Delete", going=True).retains


def test_all_schemas_together_have_a_limit() -> None:
    large = {"title": "x" * (MAX_SCHEMA - 100)}

    assert parsed(*[large] * 8).problem is None
    found = parsed(*[large] * 9)
    assert found.spec is None
    assert "bytes of JSON together, the most are 131,072" in str(found.problem)


@pytest.mark.parametrize("schemas", [[5], "all", [{"event": "a*", "jsonSchema": {}}]])
def test_schemas_of_another_shape_are_a_problem(schemas: object) -> None:
    found = parsed(validation={"schemas": schemas})

    assert found.spec is None
    assert str(found.problem).startswith("spec.validation.schemas")
