"""The pydantic models and the CRDs are the same schema, written twice."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from argus_operator.models.common import GROUP, VERSION, Mode, Model
from argus_operator.models.pipeline import PipelineSpec, PipelineStatus
from argus_operator.models.replay import ReplaySpec, ReplayStatus
from argus_operator.models.tenant import TenantSpec, TenantStatus

CRDS = Path(__file__).parents[3] / "crds"
KEPT = {
    "enum",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
}
DATE_TIME = {"type": "date-time"}
ANY_FORM = {"type": "object of any form"}
FREE = "x-kubernetes-preserve-unknown-fields"

Schema = dict[str, Any]


def crd(file: str) -> Schema:
    found: Schema = yaml.safe_load((CRDS / file).read_text())
    return found


def part(file: str, name: str) -> Schema:
    (version,) = crd(file)["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]["properties"][name]
    return found


def of_crd(schema: Schema) -> Schema:
    """What a CRD's schema demands, in the form that both sides are brought to."""
    if schema.get("format") == "date-time":
        return DATE_TIME
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": "int-or-string"} | {k: v for k, v in schema.items() if k in KEPT}
    if schema.get(FREE):
        assert "properties" not in schema
        return ANY_FORM
    shape = {"type": schema["type"]} | {k: v for k, v in schema.items() if k in KEPT}
    if schema["type"] == "object":
        shape["properties"] = {k: of_crd(v) for k, v in schema.get("properties", {}).items()}
        shape["required"] = sorted(schema.get("required", ()))
    if schema["type"] == "array":
        shape["items"] = of_crd(schema["items"])
    return shape


def of_model(schema: Schema, root: Schema) -> Schema:
    """What a model demands, in the same form."""
    if "$ref" in schema:
        return of_model(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        if len(choices) == 1:
            return of_model(choices[0], root)
        assert {choice["type"] for choice in choices} == {"integer", "string"}
        (text,) = (choice for choice in choices if choice["type"] == "string")
        return {"type": "int-or-string"} | {k: v for k, v in text.items() if k in KEPT}
    if schema.get("format") == "date-time":
        return DATE_TIME
    if schema.get("additionalProperties") is True:
        assert "properties" not in schema
        return ANY_FORM
    shape = {"type": schema["type"]} | {k: v for k, v in schema.items() if k in KEPT}
    if schema["type"] == "object":
        assert schema["additionalProperties"] is False
        shape["properties"] = {
            k: of_model(v, root) for k, v in schema.get("properties", {}).items()
        }
        shape["required"] = sorted(schema.get("required", ()))
    if schema["type"] == "array":
        shape["items"] = of_model(schema["items"], root)
    return shape


def shape_of(model: type[Model]) -> Schema:
    root = model.model_json_schema(by_alias=True)
    return of_model(root, root)


def with_defaults(schema: Schema, value: Any) -> Any:
    """What the API server makes of `value`."""
    if schema.get("type") == "object" and value is not None:
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            given = filled.get(name, inner.get("default"))
            if given is not None:
                filled[name] = with_defaults(inner, given)
        return filled
    if schema.get("type") == "array" and value is not None:
        return [with_defaults(schema["items"], item) for item in value]
    return value


@pytest.mark.parametrize(
    ("file", "name", "model"),
    [
        ("argustenants.yaml", "spec", TenantSpec),
        ("argustenants.yaml", "status", TenantStatus),
        ("arguspipelines.yaml", "spec", PipelineSpec),
        ("arguspipelines.yaml", "status", PipelineStatus),
        ("argusreplays.yaml", "spec", ReplaySpec),
        ("argusreplays.yaml", "status", ReplayStatus),
    ],
)
def test_models_demand_what_the_crds_demand(file: str, name: str, model: type[Model]) -> None:
    assert shape_of(model) == of_crd(part(file, name))


@pytest.mark.parametrize(
    ("file", "model", "given"),
    [
        ("argustenants.yaml", TenantSpec, {}),
        ("argustenants.yaml", TenantSpec, {"apiKeys": [{"name": "a"}]}),
        ("arguspipelines.yaml", PipelineSpec, {"tenantRef": {"name": "shop"}}),
        (
            "arguspipelines.yaml",
            PipelineSpec,
            {"tenantRef": {"name": "shop"}, "topic": {"retention": {"hours": 1}}},
        ),
        (
            "arguspipelines.yaml",
            PipelineSpec,
            {
                "tenantRef": {"name": "shop"},
                "validation": {"schemas": [{"event": "view", "jsonSchema": {"type": "object"}}]},
            },
        ),
        ("argusreplays.yaml", ReplaySpec, {"pipelineRef": {"name": "web"}}),
        (
            "argusreplays.yaml",
            ReplaySpec,
            {"pipelineRef": {"name": "web"}, "filter": {"from": "2026-01-01T00:00:00Z"}},
        ),
    ],
)
def test_models_have_the_defaults_of_the_crds(file: str, model: type[Model], given: Schema) -> None:
    made = model.model_validate(given).model_dump(mode="json", by_alias=True, exclude_none=True)

    assert made == with_defaults(part(file, "spec"), given)


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("argustenants.yaml", ["Ready", "Reason"]),
        ("arguspipelines.yaml", ["Ready", "Reason"]),
        ("argusreplays.yaml", ["Phase", "Reason"]),
    ],
)
def test_crds_say_what_people_look_for(file: str, first: list[str]) -> None:
    spec = crd(file)["spec"]
    (version,) = spec["versions"]
    columns = [column["name"] for column in version["additionalPrinterColumns"]]

    assert (spec["group"], version["name"]) == (GROUP, VERSION)
    assert spec["names"]["categories"] == ["argus"]
    assert columns[:2] == first
    assert "Age" in columns
    assert version["subresources"] == {"status": {}}


def descriptions(schema: Schema, path: str) -> list[str]:
    """Paths of fields that `kubectl explain` has nothing to say of."""
    missing = []
    for name, inner in schema.get("properties", {}).items():
        if not inner.get("description") and not inner.get("properties"):
            missing.append(f"{path}.{name}")
        missing += descriptions(inner, f"{path}.{name}")
    return missing + (descriptions(schema["items"], path) if "items" in schema else [])


SELF_EXPLAINING = {
    ".tenantRef.name",
    ".topic.retention.hours",
    ".deadLetter.retention.hours",
    ".pipelineRef.name",
}


@pytest.mark.parametrize("file", ["argustenants.yaml", "arguspipelines.yaml", "argusreplays.yaml"])
def test_every_field_of_a_spec_is_explained(file: str) -> None:
    assert set(descriptions(part(file, "spec"), "")) <= SELF_EXPLAINING


def free(schema: Schema, path: str) -> list[str]:
    """Paths of fields in which the API server takes and keeps whatever stands there."""
    found = [path] if schema.get(FREE) else []
    for name, inner in schema.get("properties", {}).items():
        found += free(inner, f"{path}.{name}")
    return found + (free(schema["items"], f"{path}[]") if "items" in schema else [])


def test_only_a_json_schema_may_have_any_form() -> None:
    files = ("argustenants.yaml", "arguspipelines.yaml", "argusreplays.yaml")
    found = {
        path for file in files for name in ("spec", "status") for path in free(part(file, name), "")
    }

    assert found == {".validation.schemas[].jsonSchema"}


def test_a_json_schema_is_read_as_it_was_written() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, None, {"x": []}]}}, "$defs": {}}
    spec = PipelineSpec.model_validate(
        {
            "tenantRef": {"name": "shop"},
            "validation": {"schemas": [{"event": "view", "jsonSchema": schema}]},
        }
    )

    assert spec.validation.mode is Mode.ENFORCE
    assert spec.validation.schemas[0].json_schema == schema


def test_a_resource_of_an_older_release_asks_for_nothing_new() -> None:
    """As the API server has it stored, without a default of any later field."""
    tenant = TenantSpec.model_validate(
        {
            "tier": "standard",
            "apiKeys": [{"name": "default", "kind": "server"}],
            "suspended": False,
            "deletionPolicy": "Retain",
        }
    )
    pipeline = PipelineSpec.model_validate(
        {
            "tenantRef": {"name": "shop"},
            "match": [],
            "topic": {"partitions": 1, "retention": {"hours": 168, "bytes": "1Gi"}},
            "deadLetter": {"retention": {"hours": 720, "bytes": "128Mi"}},
            "storage": {"chunkInterval": "1d", "retention": "90d"},
            "dedupeWindow": "24h",
            "deletionPolicy": "Retain",
        }
    )

    assert tenant == TenantSpec()
    assert pipeline == PipelineSpec.model_validate({"tenantRef": {"name": "shop"}})
    assert (tenant.rate_limit, tenant.database_login) == (None, False)
    assert (pipeline.topic.external, pipeline.storage.compress_after) == (None, None)
    assert pipeline.validation.schemas == ()
